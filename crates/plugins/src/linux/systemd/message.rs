//! How a message of D-Bus is written, which holds nothing but texts, and how one of any kind is read. Any content is a
//! message or an error, and claims no memory by itself. Source: the D-Bus Specification, "Message Protocol".

use zbus::Variant;
use zbus::wire::serialized::{Context, Data};
use zbus::wire::{BE, Endian, LE};

use super::bus::BusError;

/// Of every message, with the length of what follows.
pub(super) const FIXED_BYTES: usize = 16;
/// The answers here are far from it: a thousand units are a quarter of a megabyte.
const MAX_BYTES: usize = 16 << 20;

const METHOD_CALL: u8 = 1;
const METHOD_RETURN: u8 = 2;
const ERROR: u8 = 3;
const NO_AUTO_START: u8 = 2;
const PROTOCOL: u8 = 1;

const PATH: u8 = 1;
const INTERFACE: u8 = 2;
const MEMBER: u8 = 3;
const ERROR_NAME: u8 = 4;
const REPLY_SERIAL: u8 = 5;
const DESTINATION: u8 = 6;
const SIGNATURE: u8 = 8;

/// Order of bytes, kind, flags, protocol, length of the body, number, and fields by their codes.
type Header<'a> = (u8, u8, u8, u8, u32, u32, Vec<(u8, Variant<'a>)>);

/// A method that is called.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) destination: &'a str,
    pub(super) path: &'a str,
    pub(super) interface: &'a str,
    pub(super) member: &'a str,
    /// All of them are texts.
    pub(super) arguments: &'a [&'a str],
}

/// A message that came in.
#[derive(Debug)]
pub(super) enum Incoming<'a> {
    Return {
        serial: u32,
        body: Data<'a, 'static>,
    },
    Error {
        serial: u32,
        name: String,
    },
    /// A signal, or what nobody asked for.
    Other,
}

impl Call<'_> {
    /// Appends the message to `buffer`.
    pub(super) fn write(&self, serial: u32, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend([b'l', METHOD_CALL, NO_AUTO_START, PROTOCOL]);
        // The lengths of the body and of the fields are known when they are written.
        buffer.extend([0; 4]);
        buffer.extend(serial.to_le_bytes());
        buffer.extend([0; 4]);
        for (code, kind, text) in [
            (PATH, b'o', self.path),
            (INTERFACE, b's', self.interface),
            (MEMBER, b's', self.member),
            (DESTINATION, b's', self.destination),
        ] {
            pad(buffer, start, 8);
            buffer.extend([code, 1, kind, 0]);
            push(buffer, text);
        }
        if let Ok(count @ 1..) = u8::try_from(self.arguments.len()) {
            pad(buffer, start, 8);
            buffer.extend([SIGNATURE, 1, b'g', 0, count]);
            buffer.extend(self.arguments.iter().map(|_| b's').chain([0]));
        }
        set_length(buffer, start + 12, start + FIXED_BYTES);
        pad(buffer, start, 8);
        let body = buffer.len();
        for text in self.arguments {
            pad(buffer, start, 4);
            push(buffer, text);
        }
        set_length(buffer, start + 4, body);
    }
}

/// Fills up to a multiple of `alignment`, counted from `start`.
fn pad(buffer: &mut Vec<u8>, start: usize, alignment: usize) {
    buffer.resize(start + (buffer.len() - start).next_multiple_of(alignment), 0);
}

fn push(buffer: &mut Vec<u8>, text: &str) {
    buffer.extend((text.len() as u32).to_le_bytes());
    buffer.extend(text.bytes().chain([0]));
}

/// Writes how much there is from `from` on.
fn set_length(buffer: &mut [u8], at: usize, from: usize) {
    let length = (buffer.len() - from) as u32;
    buffer[at..at + 4].copy_from_slice(&length.to_le_bytes());
}

/// How long the message is that begins with these bytes.
pub(super) fn length(fixed: &[u8]) -> Result<usize, BusError> {
    let (fields, body) = (number(fixed, 12)?, number(fixed, 4)?);
    let header = FIXED_BYTES.checked_add(fields).filter(|length| *length <= MAX_BYTES);
    let length = header.and_then(|header| header.checked_add(padding(header))?.checked_add(body));
    length.filter(|length| *length <= MAX_BYTES).ok_or(BusError::Malformed("it is too long"))
}

/// Takes a message apart.
pub(super) fn parse(message: &[u8]) -> Result<Incoming<'_>, BusError> {
    let start = length(message)?.checked_sub(number(message, 4)?).ok_or(BusError::Malformed("it is too long"))?;
    let body = message.get(start..).ok_or(BusError::Malformed("it is too short"))?;
    let context = Context::new(endian(message)?, 0);
    let data = Data::new(message, context);
    let ((_, kind, _, _, _, _, fields), _): (Header<'_>, usize) = data.deserialize()?;
    let field = |wanted: u8| fields.iter().find(|(code, _)| *code == wanted).map(|(_, value)| value);
    let serial = match field(REPLY_SERIAL) {
        Some(Variant::U32(serial)) => *serial,
        _ => return Ok(Incoming::Other),
    };
    match (kind, field(ERROR_NAME)) {
        (METHOD_RETURN, _) => Ok(Incoming::Return { serial, body: Data::new(body, context) }),
        (ERROR, Some(Variant::Str(name))) => Ok(Incoming::Error { serial, name: name.as_str().to_owned() }),
        _ => Ok(Incoming::Other),
    }
}

/// How many bytes are missing to a multiple of 8.
fn padding(length: usize) -> usize {
    length.wrapping_neg() % 8
}

fn number(message: &[u8], offset: usize) -> Result<usize, BusError> {
    let bytes = message.get(offset..offset + 4).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
    let bytes = bytes.ok_or(BusError::Malformed("it is too short"))?;
    let number = match endian(message)? {
        Endian::Little => u32::from_le_bytes(bytes),
        Endian::Big => u32::from_be_bytes(bytes),
    };
    usize::try_from(number).map_err(|_| BusError::Malformed("it is too long"))
}

fn endian(message: &[u8]) -> Result<Endian, BusError> {
    match message.first() {
        Some(b'l') => Ok(LE),
        Some(b'B') => Ok(BE),
        _ => Err(BusError::Malformed("it has no order of bytes")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zbus::wire::to_bytes;

    use super::*;

    const CALL: Call<'_> = Call {
        destination: "org.example",
        path: "/a/b",
        interface: "org.example.I",
        member: "Get",
        arguments: &["größe", "y"],
    };

    fn answer(order: Endian, kind: u8, fields: Vec<(u8, Variant<'_>)>, text: &str) -> Vec<u8> {
        let context = Context::new(order, 0);
        let body = to_bytes(context, &Variant::from(text)).unwrap();
        let order = if order == LE { b'l' } else { b'B' };
        let header: Header<'_> = (order, kind, 1, 1, body.bytes().len() as u32, 9, fields);
        let mut message = to_bytes(context, &header).unwrap().bytes().to_vec();
        message.resize(message.len() + padding(message.len()), 0);
        message.extend(body.bytes());
        message
    }

    #[test]
    fn a_call_is_what_the_specification_says() {
        let mut buffer = b"before".to_vec();
        CALL.write(7, &mut buffer);
        let message = buffer.split_off(6);
        assert_eq!((buffer.as_slice(), message.len()), (b"before".as_slice(), length(&message).unwrap()));
        let context = Context::new(LE, 0);
        let data = Data::new(message.as_slice(), context);
        let (header, _): (Header<'_>, usize) = data.deserialize().unwrap();
        let (order, kind, flags, protocol, body, serial, fields) = header;
        assert_eq!((order, kind, flags, protocol, body, serial), (b'l', 1, 2, 1, 18, 7));
        let fields: Vec<(u8, String)> = fields.iter().map(|(code, value)| (*code, value.to_string())).collect();
        let field = |code: u8, text: &str| (code, text.to_owned());
        let expected = [
            field(1, "objectpath \"/a/b\""),
            field(2, "\"org.example.I\""),
            field(3, "\"Get\""),
            field(6, "\"org.example\""),
            field(8, "signature \"(ss)\""),
        ];
        assert_eq!(fields, expected);
        assert!(message.windows(4).any(|bytes| bytes == b"\x02ss\0"));
        let body = Data::new(&message[message.len() - 18..], context);
        let (arguments, _): ((&str, &str), usize) = body.deserialize().unwrap();
        assert_eq!(arguments, ("größe", "y"));

        Call { arguments: &[], ..CALL }.write(8, &mut buffer);
        assert_eq!(length(&buffer[6..]).unwrap(), buffer.len() - 6);
    }

    #[test]
    fn answers_in_either_order_of_bytes() {
        for order in [LE, BE] {
            let message = answer(order, METHOD_RETURN, vec![(REPLY_SERIAL, Variant::from(7_u32))], "größe");
            assert_eq!(length(&message).unwrap(), message.len());
            let Incoming::Return { serial: 7, body } = parse(&message).unwrap() else { panic!("{message:?}") };
            let (value, _): (Variant<'_>, usize) = body.deserialize().unwrap();
            assert_eq!(value, Variant::from("größe"));

            let fields = vec![(ERROR_NAME, Variant::from("org.example.No")), (REPLY_SERIAL, Variant::from(8_u32))];
            let message = answer(order, ERROR, fields, "no");
            assert!(
                matches!(parse(&message).unwrap(), Incoming::Error { serial: 8, name } if name == "org.example.No")
            );
            let signal = answer(order, 4, vec![(MEMBER, Variant::from("NameLost"))], "x");
            assert!(matches!(parse(&signal).unwrap(), Incoming::Other));
        }
    }

    #[test]
    fn a_message_that_claims_to_be_huge_is_refused() {
        let mut fixed = [0; FIXED_BYTES];
        fixed[0] = b'l';
        for (body, fields) in [(u32::MAX, 0), (0, u32::MAX), (u32::MAX, u32::MAX), (MAX_BYTES as u32, 0)] {
            fixed[4..8].copy_from_slice(&body.to_le_bytes());
            fixed[12..].copy_from_slice(&fields.to_le_bytes());
            assert!(length(&fixed).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_content_is_a_message_or_an_error(content in any::<Vec<u8>>(), at in any::<usize>(), byte in any::<u8>()) {
            let _ = (parse(&content).is_ok(), parse(&[b"l\x02\0\x01", content.as_slice()].concat()).is_ok());
            let mut message = answer(LE, METHOD_RETURN, vec![(REPLY_SERIAL, Variant::from(7_u32))], "text");
            let length = message.len();
            message[at % length] = byte;
            if let Ok(Incoming::Return { body, .. }) = parse(&message) {
                let value: Result<(Variant<'_>, usize), _> = body.deserialize();
                let _ = value.is_ok();
            }
            let _ = parse(&message[..at % length]).is_ok();
        }
    }
}
