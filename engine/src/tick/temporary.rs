//! Views without a name of their own, each there for as long as somebody holds it: what a subscription to a query follows.

use std::sync::mpsc::{Sender, sync_channel};

use super::driver::Command;

/// The first character of the names under which the engine keeps them; no view of a user's has it.
const MARK: char = '\u{1}';

/// A running view that is dropped with this.
#[derive(Debug)]
pub struct TemporaryView {
    name: String,
    commands: Sender<Command>,
}

impl TemporaryView {
    /// The view of this name, which is shown already.
    pub(crate) fn new(name: String, commands: Sender<Command>) -> Self {
        Self { name, commands }
    }

    /// The name the engine keeps it under.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for TemporaryView {
    fn drop(&mut self) {
        // Nobody waits for the answer; once the engine has stopped there is no view either.
        let (reply, _) = sync_channel(1);
        let _ = self.commands.send(Command::RemoveView(std::mem::take(&mut self.name), reply));
    }
}

/// The name of the `number`th such view.
pub(crate) fn name_of(number: u64) -> String {
    format!("{MARK}subscription {number}")
}

/// What a view of this name is called where all running views are listed; `None` if it is not temporary.
pub fn title_of(name: &str) -> Option<&str> {
    name.strip_prefix(MARK)
}
