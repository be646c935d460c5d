//! `tidemark sql`: a small client for machines without psql.
//!
//! Statements end with a semicolon and may span lines; what comes back is printed as a table. It speaks the simple
//! protocol, so everything is text as the server wrote it.

use std::future::poll_fn;
use std::path::PathBuf;

use clap::Args;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{ContentArrangement, Table};
use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use tokio_postgres::{AsyncMessage, Client, NoTls, SimpleQueryMessage};

/// The flags of `tidemark sql`.
#[derive(Debug, Clone, Args)]
pub struct SqlArgs {
    /// Run these statements and exit; the exit status is 1 if one fails
    #[arg(short, long, value_name = "SQL")]
    pub command: Vec<String>,

    /// Run the statements of this file and exit
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// The server's host
    #[arg(long, env = "PGHOST", default_value = "127.0.0.1")]
    pub host: String,

    /// The server's port
    #[arg(short, long, env = "PGPORT", default_value_t = 5433)]
    pub port: u16,

    /// The user to log in as; a password is taken from PGPASSWORD
    #[arg(short = 'U', long, env = "PGUSER", default_value = "tidemark")]
    pub user: String,

    /// The database
    #[arg(short, long, env = "PGDATABASE", default_value = "tidemark")]
    pub database: String,
}

/// Runs the client. Returns false if a statement of `-c` or `-f` failed.
///
/// # Errors
/// One sentence: the server cannot be reached, or the file cannot be read.
pub async fn run(args: SqlArgs) -> Result<bool, String> {
    let client = connect(&args).await?;
    let mut batch = args.command.clone();
    if let Some(path) = &args.file {
        let text = std::fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        batch.push(text);
    }
    if batch.is_empty() {
        interact(&client, &args).await?;
        return Ok(true);
    }
    for text in batch {
        if !execute(&client, &text).await {
            return Ok(false);
        }
    }
    Ok(true)
}

async fn connect(args: &SqlArgs) -> Result<Client, String> {
    let mut config = tokio_postgres::Config::new();
    config.host(&args.host).port(args.port).user(&args.user).dbname(&args.database);
    config.application_name("tidemark sql").connect_timeout(std::time::Duration::from_secs(5));
    if let Ok(password) = std::env::var("PGPASSWORD") {
        config.password(password);
    }
    let (client, mut connection) = config.connect(NoTls).await.map_err(|e| {
        let (host, port) = (&args.host, args.port);
        format!("cannot connect to {host}:{port}: {}\nIs `tidemark serve` or `tidemark demo` running?", describe(&e))
    })?;
    tokio::spawn(async move {
        while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
            match message {
                Ok(AsyncMessage::Notice(notice)) => eprintln!("{}:  {}", notice.severity(), notice.message()),
                Ok(_) => {}
                Err(_) => break,
            }
        }
    });
    Ok(client)
}

async fn interact(client: &Client, args: &SqlArgs) -> Result<(), String> {
    let mut editor = DefaultEditor::new().map_err(|e| format!("cannot use the terminal: {e}"))?;
    println!("Connected to {}:{}. Statements end with ;  \\q quits.", args.host, args.port);
    let mut text = String::new();
    loop {
        let prompt = if text.is_empty() { "tidemark=> " } else { "tidemark-> " };
        match editor.readline(prompt) {
            Ok(line) if text.is_empty() && matches!(line.trim(), "\\q" | "quit" | "exit") => return Ok(()),
            Ok(line) if text.is_empty() && line.trim().is_empty() => {}
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
                if line.trim_end().ends_with(';') {
                    // A line that cannot be remembered is no reason to stop.
                    let _ = editor.add_history_entry(text.trim());
                    execute(client, &std::mem::take(&mut text)).await;
                }
            }
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(format!("cannot read from the terminal: {error}")),
        }
    }
}

/// Runs a string of statements and prints what comes back; false if one failed.
async fn execute(client: &Client, text: &str) -> bool {
    let messages = match client.simple_query(text).await {
        Ok(messages) => messages,
        Err(error) => {
            eprintln!("{}", describe(&error));
            return false;
        }
    };
    let mut table: Option<Table> = None;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(columns) => {
                let mut new = Table::new();
                new.load_style(ASCII_MARKDOWN).set_content_arrangement(ContentArrangement::Disabled);
                new.set_header(columns.iter().map(tokio_postgres::SimpleColumn::name));
                table = Some(new);
            }
            SimpleQueryMessage::Row(row) => {
                if let Some(table) = &mut table {
                    table.add_row((0..row.len()).map(|column| row.get(column).unwrap_or("")));
                }
            }
            SimpleQueryMessage::CommandComplete(rows) => match table.take() {
                Some(table) => println!("{table}\n({rows} row{})\n", if rows == 1 { "" } else { "s" }),
                None => println!("OK"),
            },
            _ => {}
        }
    }
    true
}

/// An error as psql prints it.
fn describe(error: &tokio_postgres::Error) -> String {
    let Some(error) = error.as_db_error() else { return error.to_string() };
    let mut text = format!("{}:  {} (SQLSTATE {})", error.severity(), error.message(), error.code().code());
    for (label, part) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        if let Some(part) = part {
            text.push_str(&format!("\n{label}:  {part}"));
        }
    }
    text
}
