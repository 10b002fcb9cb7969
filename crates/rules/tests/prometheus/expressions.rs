//! Random expressions over the whole language that is supported.

use rand::RngExt;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// An expression; mostly a vector.
pub(crate) fn random(random: &mut StdRng) -> String {
    let mut writer = Writer { random };
    if writer.chance(0.05) { writer.scalar(2) } else { writer.vector(3) }
}

struct Writer<'r> {
    random: &'r mut StdRng,
}

impl Writer<'_> {
    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn one_of<'t>(&mut self, choices: &[&'t str]) -> &'t str {
        choices.choose(self.random).expect("there are choices")
    }

    fn vector(&mut self, depth: u32) -> String {
        if depth == 0 {
            return self.leaf();
        }
        let depth = depth - 1;
        match self.random.random_range(0..20) {
            0..=3 => self.aggregation(depth),
            4..=6 => self.map(depth),
            7..=8 => self.with_scalar(depth),
            9..=12 => self.between_vectors(depth),
            13..=14 => self.set(depth),
            15 if self.chance(0.5) => format!("-({})", self.vector(depth)),
            // Only of what is measured: the last digit of a large power decides what a remainder of it is.
            15 => format!("({}) ^ {}", self.selector(), self.one_of(&["2", "0.5", "-1", "3"])),
            16 => format!("absent({})", if self.chance(0.5) { self.selector() } else { self.vector(depth) }),
            17 => format!("vector({})", self.scalar(depth)),
            18 => format!("timestamp({})", self.selector()),
            _ => self.leaf(),
        }
    }

    fn scalar(&mut self, depth: u32) -> String {
        match self.random.random_range(0..8) {
            0 => "(time() % 1000)".to_owned(),
            1 if depth > 0 => format!("scalar({})", self.vector(depth - 1)),
            2 if depth > 0 => {
                let operator = self.one_of(&["+", "-", "*", "/", "%", "> bool", "== bool"]);
                format!("({} {operator} {})", self.scalar(depth - 1), self.scalar(depth - 1))
            }
            3 => format!("-{}", self.number()),
            _ => self.number(),
        }
    }

    fn number(&mut self) -> String {
        if self.chance(0.05) {
            return self.one_of(&["Inf", "NaN", "0x1f", "1e3", "0"]).to_owned();
        }
        format!("{}", f64::from(self.random.random_range(0..800_i32)) / 4.0)
    }

    fn leaf(&mut self) -> String {
        match self.random.random_range(0..10) {
            0..=3 => {
                let offset = self.one_of(&["", "", "", " offset 2m", " offset 10m"]);
                format!("{}{offset}", self.selector())
            }
            _ => self.over_range(),
        }
    }

    fn selector(&mut self) -> String {
        let name = self.one_of(&["bytes_total", "errors_total", "free_bytes", "load", "limit", "owner_info"]);
        format!("{name}{}", self.matchers())
    }

    fn matchers(&mut self) -> String {
        let choices = [
            "",
            "",
            "",
            "",
            r#"{host="a"}"#,
            r#"{host!="a"}"#,
            r#"{host=~"a|b"}"#,
            r#"{host!~"[ab]"}"#,
            r#"{device=~"sd.*"}"#,
            r#"{device!~"sd.+"}"#,
            r#"{device=~"sd"}"#,
            r#"{device="sda",host=~".*"}"#,
            r#"{device!=""}"#,
            r#"{device=""}"#,
            r#"{nothing=""}"#,
        ];
        self.one_of(&choices).to_owned()
    }

    fn over_range(&mut self) -> String {
        let range = self.one_of(&["40s", "1m", "90s", "5m", "13m", "1h"]);
        if self.chance(0.45) {
            let function = self.one_of(&["rate", "rate", "increase", "irate", "resets"]);
            let name = self.one_of(&["bytes_total", "errors_total"]);
            return format!("{function}({name}{}[{range}])", self.matchers());
        }
        let name = self.one_of(&["bytes_total", "free_bytes", "load", "limit"]);
        let selector = format!("{name}{}[{range}]", self.matchers());
        match self.random.random_range(0..12) {
            0 => format!("quantile_over_time({}, {selector})", self.one_of(&["0", "0.5", "0.93", "1", "2", "-1"])),
            1 => format!("predict_linear({selector}, {})", self.one_of(&["60", "3600", "-30"])),
            _ => {
                let functions = [
                    "avg", "min", "max", "sum", "count", "last", "present", "absent", "stddev", "stdvar", "changes",
                    "delta", "deriv", "idelta",
                ];
                let function = self.one_of(&functions);
                let suffix =
                    if ["changes", "delta", "deriv", "idelta"].contains(&function) { "" } else { "_over_time" };
                format!("{function}{suffix}({selector})")
            }
        }
    }

    fn aggregation(&mut self, depth: u32) -> String {
        let grouping = self.one_of(&[
            "",
            "by (host) ",
            "by (device) ",
            "by (host, device) ",
            "by () ",
            "without (host) ",
            "without (device, host) ",
            "by (team) ",
            "without () ",
        ]);
        if self.chance(0.1) {
            // Counters are never NaN: of a single NaN Prometheus 2 has a variance of zero, and Prometheus 3 of NaN.
            let aggregation = self.one_of(&["stddev", "stdvar"]);
            return format!(
                "{aggregation} {grouping}({}{})",
                self.one_of(&["bytes_total", "errors_total"]),
                self.matchers()
            );
        }
        let vector = self.vector(depth);
        if self.chance(0.1) {
            return format!("quantile {grouping}({}, {vector})", self.one_of(&["0", "0.5", "0.9", "1"]));
        }
        let aggregation = self.one_of(&["sum", "avg", "min", "max", "count", "group"]);
        format!("{aggregation} {grouping}({vector})")
    }

    fn map(&mut self, depth: u32) -> String {
        let vector = self.vector(depth);
        match self.random.random_range(0..10) {
            0..=1 => format!("clamp_min({vector}, {})", self.scalar(1)),
            2..=3 => format!("clamp_max({vector}, {})", self.scalar(1)),
            4 => format!("clamp({vector}, {}, {})", self.scalar(0), self.scalar(0)),
            5 => format!("round({vector}, {})", self.one_of(&["1", "0.5", "10"])),
            6..=7 => format!("abs({vector})"),
            _ => {
                format!("{}({vector})", self.one_of(&["ceil", "floor", "sgn", "sqrt", "ln", "log2", "log10", "round"]))
            }
        }
    }

    fn operator(&mut self) -> &'static str {
        self.one_of(&[
            "+", "-", "*", "/", "%", ">", ">=", "<", "<=", "!=", "==", "> bool", "<= bool", "== bool", "!= bool",
        ])
    }

    fn with_scalar(&mut self, depth: u32) -> String {
        let (vector, scalar, operator) = (self.vector(depth), self.scalar(1), self.operator());
        if self.chance(0.5) {
            format!("({vector}) {operator} {scalar}")
        } else {
            format!("{scalar} {operator} ({vector})")
        }
    }

    fn between_vectors(&mut self, depth: u32) -> String {
        let operator = self.operator();
        match self.random.random_range(0..6) {
            0 => format!("({}) {operator} on (host) group_left () limit", self.vector(depth)),
            1 => format!("({}) {operator} on (host) group_left (team) owner_info", self.vector(depth)),
            2 => format!("owner_info {operator} on (host) group_right (team) ({})", self.vector(depth)),
            3 => format!("sum by (host) ({}) {operator} ignoring (team) owner_info", self.vector(depth)),
            _ => {
                let matching = self.one_of(&["", "", "", "on (host, device) ", "ignoring (team) ", "on (host) "]);
                format!("({}) {operator} {matching}({})", self.vector(depth), self.vector(depth))
            }
        }
    }

    fn set(&mut self, depth: u32) -> String {
        let operator = self.one_of(&["and", "or", "unless"]);
        let matching = self.one_of(&["", "on (host) ", "ignoring (device) ", "on () ", "on (host, device) "]);
        format!("({}) {operator} {matching}({})", self.vector(depth), self.vector(depth))
    }
}
