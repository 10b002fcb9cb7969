//! Files of procfs that are a name and a number in each line. The names are the same with every sample, and most of them
//! nobody wants: they are compared with those of the last sample, which costs less than to take them apart.

use crate::linux::fields::{Malformed, fields, integer, lines, text};

/// The lines of one file, as far as they stay the same.
#[derive(Debug, Default)]
pub(crate) struct NamedLines {
    /// One name behind the other.
    names: Vec<u8>,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    name_bytes: usize,
    /// What the figure is called, if anybody wants it.
    family: Option<String>,
}

impl NamedLines {
    /// Hands every figure that is wanted to `figure`, by the name that `family` gave to the name in the line when that was
    /// seen first.
    pub(crate) fn each(
        &mut self,
        content: &[u8],
        mut family: impl FnMut(&str) -> Option<String>,
        mut figure: impl FnMut(&str, u64),
    ) -> Result<(), Malformed> {
        let mut start = 0;
        for (index, line) in lines(content).enumerate() {
            let line = line?;
            let known = self.lines.get(index).map(|known| &self.names[start..start + known.name_bytes]);
            let value = match known.and_then(|name| line.strip_prefix(name)).filter(|value| begins_with_blank(value)) {
                Some(value) => value,
                None => {
                    if fields(line).count() != 2 {
                        return Err(malformed(line));
                    }
                    let name = line.iter().position(|byte| is_blank(*byte)).map_or(line, |end| &line[..end]);
                    self.names.truncate(start);
                    self.names.extend_from_slice(name);
                    self.lines.truncate(index);
                    self.lines.push(Line { name_bytes: name.len(), family: family(&text(name)) });
                    &line[name.len()..]
                }
            };
            let Line { name_bytes, family } = &self.lines[index];
            start += name_bytes;
            if let Some(family) = family {
                let mut values = fields(value);
                let (Some(value), None) = (values.next(), values.next()) else {
                    return Err(malformed(line));
                };
                figure(family, integer(value)?);
            }
        }
        Ok(())
    }
}

fn malformed(line: &[u8]) -> Malformed {
    Malformed::new("a name and a number", line)
}

fn begins_with_blank(text: &[u8]) -> bool {
    text.first().is_some_and(|byte| is_blank(*byte))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is found of those that begin with `w`.
    fn found(known: &mut NamedLines, content: &str) -> Result<Vec<(String, u64)>, Malformed> {
        let mut found = Vec::new();
        let family = |name: &str| name.starts_with('w').then(|| format!("the_{name}"));
        known.each(content.as_bytes(), family, |name, value| found.push((name.to_owned(), value)))?;
        Ok(found)
    }

    #[test]
    fn lines_may_come_and_go() {
        let mut known = NamedLines::default();
        let all = "wa 1\nb 2\nwc\t 3\nd 4\n";
        let of_all = [("the_wa".to_owned(), 1), ("the_wc".to_owned(), 3)];
        for _ in 0..2 {
            assert_eq!(found(&mut known, all).unwrap(), of_all);
        }
        assert_eq!(found(&mut known, "wa 1\nwab 2\nb 2\nwc 3\n").unwrap().len(), 3);
        assert_eq!(found(&mut known, "wab 7\n").unwrap(), [("the_wab".to_owned(), 7)]);
        assert_eq!(found(&mut known, "").unwrap(), []);
        assert_eq!(found(&mut known, all).unwrap(), of_all);
        for bad in ["wa\n", "wa 1 2\n", "wa x\n", "wa 1"] {
            assert!(found(&mut known, bad).is_err(), "{bad:?}");
        }
        assert!(found(&mut known, "b\n").is_err(), "it was never seen");
    }

    proptest! {
        #[test]
        fn what_was_seen_before_makes_no_difference(
            contents in prop::collection::vec("([wx]?[ab]{1,2} [0-9]\n){0,5}([wx]a ?[0-9]?\n)?", 1..9),
        ) {
            let mut known = NamedLines::default();
            for content in &contents {
                let (again, anew) = (found(&mut known, content), found(&mut NamedLines::default(), content));
                // Of lines that nobody wants only the names are looked at again.
                prop_assert!(anew.is_err() || again == anew);
            }
        }

        #[test]
        fn any_bytes_are_survived(contents in any::<[Vec<u8>; 2]>()) {
            let mut known = NamedLines::default();
            for content in contents {
                let _ = known.each(&content, |name| Some(name.to_owned()), |_, _| ());
            }
        }
    }
}
