//! `ALTER … RENAME TO`: another name for an object, in its own definition and in those of all that read it.

use std::collections::BTreeMap;
use std::sync::Arc;

use sql::catalog::{Catalog, Definition, Object, noun};
use sql::statement::{ObjectKind, Rename, Statement};
use sql::{SqlError, SqlState};

use super::Database;
use super::change::{Change, Renaming};
use super::view::plan_view;
use crate::backend::Outcome;

impl Database {
    pub(super) fn rename(&self, rename: &Rename) -> Result<Change, SqlError> {
        let Rename { kind, name, new_name, if_exists } = rename;
        let catalog = self.catalog();
        let tag = format!("ALTER {}", noun(*kind).to_uppercase());
        if *if_exists && catalog.get(name).is_none() {
            return Ok(Change::skipped(&tag, format!("relation \"{name}\" does not exist, skipping")));
        }
        let kind = &catalog.expect(name, *kind)?.kind();
        let rename = &Rename { kind: *kind, ..rename.clone() };
        let companions = catalog.get(name).map_or(&[][..], |object| object.definition.companions());
        let mut rewritten = BTreeMap::new();
        for object in catalog.with_readers(std::slice::from_ref(name)) {
            let text = rewrite(&object, rename, companions)?;
            let definition = definition_of(&text)?;
            rewritten.insert(object.name.clone(), (text, definition));
        }
        // Its own relations are no obstacle: `s_errors` may become the name of what was `s`.
        catalog.without([name.as_str()]).check_free(new_name, companions)?;
        let next = Arc::new(catalog.renamed(name, new_name, rewritten));
        let fingerprints = self.check_readers(&catalog, &next, rename)?;
        let in_engine = *kind != ObjectKind::View;
        let change = Change::new(Outcome::done(tag), Catalog::clone(&next));
        let renaming = Renaming { from: name.clone(), to: new_name.clone(), fingerprints };
        Ok(Change { rename: in_engine.then_some(renaming), ..change })
    }

    /// The definitions must be what they were: a restart runs their texts. Returns the fingerprints that their plans have then.
    ///
    /// # Errors
    /// 0A000 naming the first that is not.
    fn check_readers(
        &self,
        catalog: &Arc<Catalog>,
        next: &Arc<Catalog>,
        rename: &Rename,
    ) -> Result<Vec<(String, String)>, SqlError> {
        let mut fingerprints = Vec::new();
        for old in catalog.with_readers(std::slice::from_ref(&rename.name)) {
            let name = if old.name == rename.name { &rename.new_name } else { &old.name };
            let Some(object) = next.get(name) else { continue };
            let same = match &object.definition {
                Definition::Source(_) | Definition::Table(_) => continue,
                Definition::MaterializedView(create) => plan_view(&self.session_state, next, create, &object.text)
                    .is_ok_and(|planned| {
                        fingerprints.push((name.clone(), planned.dataflow.fingerprint()));
                        planned.columns == object.columns
                            && planned.reads == object.reads
                            && Some(&planned.dataflow.properties()) == object.properties.as_deref()
                    }),
                Definition::View(create) => self
                    .bind_plain_view(next, create, &object.text)
                    .is_ok_and(|(columns, reads)| columns == object.columns && reads == object.reads),
            };
            if !same {
                let message = format!("cannot rename {} {}", noun(rename.kind), rename.name);
                let detail =
                    format!("The definition of {} {} cannot be put in its new name.", noun(old.kind()), old.name);
                return Err(SqlError::unsupported(message).detail(detail).hint("drop what depends on it first"));
            }
        }
        Ok(fingerprints)
    }
}

/// An object's text with the new name in it; the relations that come with what is renamed get theirs, too.
fn rewrite(object: &Arc<Object>, rename: &Rename, companions: &[&str]) -> Result<String, SqlError> {
    let mut text = sql::rename::rename(&object.text, &rename.name, &rename.new_name)?;
    if object.name != rename.name {
        for suffix in companions {
            let of = |name: &str| format!("{name}_{suffix}");
            text = sql::rename::rename(&text, &of(&rename.name), &of(&rename.new_name))?;
        }
    }
    Ok(text)
}

fn definition_of(text: &str) -> Result<Definition, SqlError> {
    match sql::parser::parse(text)?.into_iter().next().map(|parsed| parsed.statement) {
        Some(Statement::CreateSource(create)) => Ok(Definition::Source(Arc::new(*create))),
        Some(Statement::CreateMaterializedView(create)) => Ok(Definition::MaterializedView(Arc::new(*create))),
        Some(Statement::CreateTable(create)) => Ok(Definition::Table(Arc::new(*create))),
        Some(Statement::CreateView(create)) => Ok(Definition::View(Arc::new(*create))),
        _ => Err(SqlError::new(SqlState::INTERNAL_ERROR, "a definition that defines nothing")),
    }
}
