//! What DataFusion asks of a logical node, answered alike by our own: a node is known by its id and its inputs, holds no
//! expressions that DataFusion may change, and is shown as its name, its id and its text.

/// Implements `Hash`, `PartialOrd` and `UserDefinedLogicalNodeCore` for a node with the fields `id` and `schema`, with each
/// of its inputs in a field of its own, and with a method `text`.
macro_rules! operator_node {
    ($node:ident, $name:literal, [$($input:ident),*]) => {
        impl std::hash::Hash for $node {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.id.hash(state);
                $(self.$input.hash(state);)*
            }
        }

        impl PartialOrd for $node {
            fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
                self.id.partial_cmp(&other.id)
            }
        }

        impl datafusion::logical_expr::UserDefinedLogicalNodeCore for $node {
            fn name(&self) -> &str {
                $name
            }

            fn inputs(&self) -> Vec<&LogicalPlan> {
                vec![$(&self.$input),*]
            }

            fn schema(&self) -> &DFSchemaRef {
                &self.schema
            }

            fn expressions(&self) -> Vec<datafusion::logical_expr::Expr> {
                vec![]
            }

            fn fmt_for_explain(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                write!(f, "{} {}: {}", $name, self.id, self.text())
            }

            fn with_exprs_and_inputs(
                &self,
                _: Vec<datafusion::logical_expr::Expr>,
                inputs: Vec<LogicalPlan>,
            ) -> datafusion::common::Result<Self> {
                #[allow(unused_mut, reason = "a leaf has no inputs to put in")]
                let mut made = self.clone();
                let slots: [&mut Arc<LogicalPlan>; _] = [$(&mut made.$input),*];
                if slots.len() != inputs.len() {
                    return Err(datafusion::common::internal_datafusion_err!("{} has other inputs", $name));
                }
                slots.into_iter().zip(inputs).for_each(|(slot, input)| *slot = Arc::new(input));
                Ok(made)
            }
        }
    };
}

pub(super) use operator_node;

/// A node's text where it may emit on close.
pub(super) fn emitting(text: String, on_close: bool) -> String {
    if on_close { text + ", emit on close" } else { text }
}
