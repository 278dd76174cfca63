//! JSON as Python's `json.dumps` writes it: templates were made, and models taught, with that.

use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, Value};

/// No sensible data are nested deeper.
const MOST_DEPTH: usize = 128;

/// The template's `tojson` filter.
pub(super) fn to_json(value: &Value, options: Kwargs) -> Result<String, Error> {
    let indent: Option<Value> = options.get("indent")?;
    let separators: Option<Vec<String>> = options.get("separators")?;
    let style = Style {
        indent: match indent {
            Some(indent) if !indent.is_none() => Some(
                usize::try_from(indent)
                    .ok()
                    .filter(|spaces| *spaces <= 64)
                    .ok_or_else(|| wrong("tojson: indent must be 0 to 64"))?,
            ),
            _ => None,
        },
        ensure_ascii: options
            .get::<Option<bool>>("ensure_ascii")?
            .unwrap_or(false),
        sort_keys: options.get::<Option<bool>>("sort_keys")?.unwrap_or(false),
        separators: match separators.as_deref() {
            Some([item, key]) => Some((item.clone(), key.clone())),
            Some(_) => return Err(wrong("tojson: separators must be two")),
            None => None,
        },
    };
    options.assert_all_used()?;
    let mut text = String::new();
    style.write(value, 0, &mut text)?;
    Ok(text)
}

struct Style {
    indent: Option<usize>,
    ensure_ascii: bool,
    sort_keys: bool,
    separators: Option<(String, String)>,
}

impl Style {
    fn write(&self, value: &Value, depth: usize, text: &mut String) -> Result<(), Error> {
        if depth > MOST_DEPTH {
            return Err(wrong("tojson: the value is nested too deeply"));
        }
        match value.kind() {
            ValueKind::None => text.push_str("null"),
            ValueKind::Bool if value.is_true() => text.push_str("true"),
            ValueKind::Bool => text.push_str("false"),
            ValueKind::Number => text.push_str(&number(value)),
            ValueKind::String => self.quote(value.as_str().unwrap_or_default(), text),
            ValueKind::Seq | ValueKind::Iterable => {
                let items: Vec<Value> = value.try_iter()?.collect();
                self.list('[', ']', items.iter(), depth, text, |item, text| {
                    self.write(item, depth + 1, text)
                })?;
            }
            ValueKind::Map => {
                let mut keys: Vec<Value> = value.try_iter()?.collect();
                if self.sort_keys {
                    keys.sort();
                }
                let colon = self.separators.as_ref().map_or(": ", |(_, key)| key);
                self.list('{', '}', keys.iter(), depth, text, |key, text| {
                    match key.kind() {
                        ValueKind::String => self.quote(key.as_str().unwrap_or_default(), text),
                        ValueKind::Number => self.quote(&number(key), text),
                        ValueKind::Bool => {
                            self.quote(if key.is_true() { "true" } else { "false" }, text)
                        }
                        ValueKind::None => self.quote("null", text),
                        _ => return Err(wrong("tojson: a key is neither text nor number")),
                    }
                    text.push_str(colon);
                    self.write(&value.get_item(key)?, depth + 1, text)
                })?;
            }
            _ => return Err(wrong("tojson: the value cannot be written as JSON")),
        }
        Ok(())
    }

    fn list<'a>(
        &self,
        open: char,
        close: char,
        items: impl ExactSizeIterator<Item = &'a Value>,
        depth: usize,
        text: &mut String,
        mut write: impl FnMut(&Value, &mut String) -> Result<(), Error>,
    ) -> Result<(), Error> {
        text.push(open);
        let is_empty = items.len() == 0;
        let default = if self.indent.is_some() { "," } else { ", " };
        let comma = self.separators.as_ref().map_or(default, |(item, _)| item);
        for (number, item) in items.enumerate() {
            if number > 0 {
                text.push_str(comma);
            }
            self.new_line(depth + 1, text);
            write(item, text)?;
        }
        if !is_empty {
            self.new_line(depth, text);
        }
        text.push(close);
        Ok(())
    }

    fn new_line(&self, depth: usize, text: &mut String) {
        if let Some(spaces) = self.indent {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', spaces * depth));
        }
    }

    fn quote(&self, value: &str, text: &mut String) {
        text.push('"');
        for character in value.chars() {
            match character {
                '"' => text.push_str("\\\""),
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\u{8}' => text.push_str("\\b"),
                '\u{c}' => text.push_str("\\f"),
                _ if character < ' ' || (self.ensure_ascii && character > '~') => {
                    for unit in character.encode_utf16(&mut [0; 2]) {
                        // Writing to a string does not fail.
                        let _ = write!(text, "\\u{unit:04x}");
                    }
                }
                _ => text.push(character),
            }
        }
        text.push('"');
    }
}

/// As Python writes it: a float always shows that it is one, with an exponent where that is shorter.
fn number(value: &Value) -> String {
    if value.is_integer() {
        return value.to_string();
    }
    let Ok(float) = f64::try_from(value.clone()) else {
        return value.to_string();
    };
    if float.is_nan() {
        return "NaN".to_owned();
    }
    if float.is_infinite() {
        return if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let size = float.abs();
    if size != 0.0 && !(1e-4..1e16).contains(&size) {
        let text = format!("{float:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = match exponent.strip_prefix('-') {
            Some(exponent) => ('-', exponent),
            None => ('+', exponent),
        };
        return format!("{digits}e{sign}{exponent:0>2}");
    }
    format!("{float:?}")
}

fn wrong(detail: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, detail.to_owned())
}
