//! The values inside an array or object that was found well-formed before.

use super::scan::{Nesting, Scanner, Value};

/// Goes through an array's elements or an object's fields.
pub(super) struct Inside<'a> {
    scanner: Scanner<'a>,
    pos: usize,
    end: usize,
}

impl<'a> Inside<'a> {
    /// The inside of `container`, which lies in the record that `scanner` reads.
    pub fn of(container: Value, scanner: Scanner<'a>) -> Self {
        let pos = scanner.skip_space(container.start() + 1);
        Self { scanner, pos, end: container.end() }
    }

    /// An array's next element.
    pub fn element(&mut self, nesting: &mut Nesting) -> Option<Value> {
        if self.pos + 1 >= self.end {
            return None;
        }
        let value = self.value(nesting)?;
        if self.scanner.byte(self.pos) == b',' {
            self.pos = self.scanner.skip_space(self.pos + 1);
        }
        Some(value)
    }

    /// An object's next field: its key, which is a string, and its value.
    pub fn field(&mut self, nesting: &mut Nesting) -> Option<(Value, Value)> {
        if self.pos + 1 >= self.end {
            return None;
        }
        let key = self.value(nesting)?;
        // Here is the colon.
        self.pos = self.scanner.skip_space(self.pos + 1);
        Some((key, self.element(nesting)?))
    }

    /// The value at hand; moves on to what follows it.
    fn value(&mut self, nesting: &mut Nesting) -> Option<Value> {
        let mut value = Value::default();
        let end = self.scanner.value(self.pos, 0, nesting, &mut value).ok()?;
        self.pos = self.scanner.skip_space(end as usize);
        Some(value)
    }
}
