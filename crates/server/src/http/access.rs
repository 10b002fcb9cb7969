//! What stands before every path, the unknown ones included: users and passwords, and the headers that the owner adds.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::web::{Admission, Gate};

/// Lets a request pass, or answers it.
pub(super) async fn check(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    let config = gate.config();
    let mut response = match gate.admit(&config, request.headers()).await {
        Admission::Granted => next.run(request).await,
        Admission::Refused => {
            let challenge = [(WWW_AUTHENTICATE, "Basic realm=\"hostwatch\", charset=\"UTF-8\"")];
            (StatusCode::UNAUTHORIZED, challenge, "Unauthorized\n").into_response()
        }
        Admission::Busy => {
            let explanation = "Too many passwords are being checked at once.\n";
            (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], explanation).into_response()
        }
    };
    response.headers_mut().extend(config.headers.clone());
    response
}
