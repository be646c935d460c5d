//! sqlparser's Postgres dialect, with Postgres' reserved words and a bound on the work one statement may cause.
//!
//! sqlparser backtracks: where two readings of a place are possible it tries one, then the other, and nested brackets
//! can double the work with every level. One such place, named arguments, is switched to the reading that cannot; for the
//! others every attempt at an expression draws on a budget, and an exhausted budget fails the statement.

use std::any::TypeId;
use std::sync::atomic::{AtomicUsize, Ordering};

use datafusion::sql::sqlparser::ast::Expr;
use datafusion::sql::sqlparser::dialect::{Dialect, PostgreSqlDialect, Precedence};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::Token;

static POSTGRES: PostgreSqlDialect = PostgreSqlDialect {};

/// Attempts at an expression that every statement has, and those it has for each token. Straight reading takes about one
/// for each token.
const ATTEMPTS: usize = 20_000;
const ATTEMPTS_PER_TOKEN: usize = 20;

/// Words that cannot stand for a column or a relation, though sqlparser would take them.
const RESERVED: [Keyword; 20] = [
    Keyword::AND,
    Keyword::AS,
    Keyword::ELSE,
    Keyword::EXCEPT,
    Keyword::FOR,
    Keyword::FROM,
    Keyword::GROUP,
    Keyword::HAVING,
    Keyword::INTERSECT,
    Keyword::INTO,
    Keyword::ON,
    Keyword::OR,
    Keyword::ORDER,
    Keyword::SELECT,
    Keyword::THEN,
    Keyword::UNION,
    Keyword::USING,
    Keyword::WHEN,
    Keyword::WHERE,
    Keyword::WITH,
];

/// The dialect of one statement.
#[derive(Debug)]
pub(crate) struct Postgres {
    attempts: AtomicUsize,
    versions: bool,
}

impl Postgres {
    /// With a budget for a statement of `tokens` tokens.
    pub fn new(tokens: usize) -> Self {
        Self { attempts: AtomicUsize::new(ATTEMPTS + ATTEMPTS_PER_TOKEN * tokens), versions: false }
    }

    /// The same for a statement in which `FOR SYSTEM_TIME AS OF` stands, or does not. sqlparser reads it together with others'
    /// clauses, whose words are names in Postgres.
    pub fn with_versions(self, versions: bool) -> Self {
        Self { versions, ..self }
    }

    /// True once the budget has run out.
    pub fn exhausted(&self) -> bool {
        self.attempts.load(Ordering::Relaxed) == 0
    }

    fn attempt(&self) -> bool {
        self.attempts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }
}

/// True for an unquoted word that is reserved.
pub(crate) fn is_reserved(token: &Token) -> bool {
    matches!(token, Token::Word(word) if word.quote_style.is_none() && RESERVED.contains(&word.keyword))
}

/// Takes these answers from [`PostgreSqlDialect`].
macro_rules! as_postgres {
    ($($question:ident),* $(,)?) => {
        $(fn $question(&self) -> bool {
            POSTGRES.$question()
        })*
    };
}

impl Dialect for Postgres {
    fn dialect(&self) -> TypeId {
        POSTGRES.dialect()
    }

    fn identifier_quote_style(&self, identifier: &str) -> Option<char> {
        POSTGRES.identifier_quote_style(identifier)
    }

    fn is_delimited_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_delimited_identifier_start(ch)
    }

    fn is_identifier_start(&self, ch: char) -> bool {
        POSTGRES.is_identifier_start(ch)
    }

    fn is_identifier_part(&self, ch: char) -> bool {
        POSTGRES.is_identifier_part(ch)
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        POSTGRES.is_reserved_for_identifier(keyword)
    }

    fn is_custom_operator_part(&self, ch: char) -> bool {
        POSTGRES.is_custom_operator_part(ch)
    }

    fn get_next_precedence(&self, parser: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        POSTGRES.get_next_precedence(parser)
    }

    fn prec_value(&self, precedence: Precedence) -> u8 {
        POSTGRES.prec_value(precedence)
    }

    fn parse_prefix(&self, parser: &mut Parser<'_>) -> Option<Result<Expr, ParserError>> {
        if !self.attempt() {
            return Some(Err(ParserError::RecursionLimitExceeded));
        }
        let next = parser.peek_token_ref();
        is_reserved(&next.token).then(|| parser.expected_ref("an expression", next))
    }

    fn is_table_factor(&self, keyword: &Keyword, parser: &mut Parser<'_>) -> bool {
        POSTGRES.is_table_factor(keyword, parser) && !RESERVED.contains(keyword)
    }

    /// An argument's name is an identifier. With expressions as names sqlparser reads every argument twice.
    fn supports_named_fn_args_with_expr_name(&self) -> bool {
        false
    }

    fn supports_table_versioning(&self) -> bool {
        self.versions
    }

    /// `SELECT * name FROM t` is no Postgres.
    fn supports_select_wildcard_with_alias(&self) -> bool {
        false
    }

    as_postgres!(
        allow_extract_custom,
        allow_extract_single_quotes,
        supports_alter_column_type_using,
        supports_array_typedef_with_brackets,
        supports_bitwise_shift_operators,
        supports_comma_separated_trim,
        supports_comment_on,
        supports_comment_optimizer_hint,
        supports_create_index_with_clause,
        supports_create_table_like_parenthesized,
        supports_empty_projections,
        supports_explain_with_utility_options,
        supports_factorial_operator,
        supports_filter_during_aggregation,
        supports_geometric_types,
        supports_group_by_expr,
        supports_insert_table_alias,
        supports_interval_options,
        supports_listen_notify,
        supports_load_extension,
        supports_named_fn_args_with_colon_operator,
        supports_nested_comments,
        supports_notnull_operator,
        supports_numeric_literal_underscores,
        supports_set_names,
        supports_string_escape_constant,
        supports_unicode_string_literal,
        supports_xml_expressions,
    );
}
