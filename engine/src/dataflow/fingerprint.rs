//! Which plan a view's state is of: the same words for the same plan, in every process of one release.

use datafusion::DATAFUSION_VERSION;
use xxhash_rust::xxh3::xxh3_128;

use super::Dataflow;

/// Raised when operators come to keep their state in another form, or plans mean something else by the same words: state of an
/// earlier one is not taken over then, and the view is built anew.
const STATE_VERSION: u32 = 1;

impl Dataflow {
    /// The plan's fingerprint. Of two dataflows with one fingerprint, each can go on with the other's state.
    pub fn fingerprint(&self) -> String {
        let Self { plan, schema, append_only, consolidated, closes, accepts_late, inputs, relations, .. } = self;
        let sources = &self.sources;
        let shape =
            (append_only, consolidated, closes, accepts_late, inputs, relations, sources, self.diagnose.is_some());
        let text = format!("{STATE_VERSION} {DATAFUSION_VERSION} {shape:?} {:?} {plan:?}", schema.fields());
        format!("{:032x}", xxh3_128(text.as_bytes()))
    }
}
