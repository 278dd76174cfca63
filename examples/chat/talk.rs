//! One question after another, each with all that was said before.

use std::error::Error;
use std::io::BufRead;

use modelpool::{ChatMessage, ModelError, ModelHandle, Pool, PoolError, TextToText, TokenStream};
use tokio::sync::mpsc;

use crate::arguments::Arguments;
use crate::screen::{self, Screen};

pub async fn talk(
    pool: &Pool,
    model: &ModelHandle<TextToText>,
    arguments: &Arguments,
    screen: &Screen,
) -> Result<(), Box<dyn Error>> {
    let beginning: Vec<ChatMessage> = arguments.system.iter().map(ChatMessage::system).collect();
    let mut history = beginning.clone();
    let mut lines = typed_lines();
    loop {
        screen.ask();
        let line = tokio::select! {
            line = lines.recv() => line,
            _ = tokio::signal::ctrl_c() => None,
        };
        let Some(line) = line else { break };
        match line.trim() {
            "" => continue,
            "/quit" => break,
            "/clear" => {
                history = beginning.clone();
                screen.aside("all forgotten");
                continue;
            }
            question => history.push(ChatMessage::user(question)),
        }
        if !screen.is_conversation() {
            screen.question(&line);
        }
        let stream = answer(model, &mut history, beginning.len(), arguments).await?;
        let said = read(stream, screen).await?;
        screen.aside(&screen::memory(&pool.status()));
        history.push(ChatMessage::assistant(said));
    }
    screen.say("\n");
    Ok(())
}

/// The lines of stdin, which are read on a thread of their own.
fn typed_lines() -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel(1);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Asks with all of the history, or as much of its end as the model takes.
async fn answer(
    model: &ModelHandle<TextToText>,
    history: &mut Vec<ChatMessage>,
    beginning: usize,
    arguments: &Arguments,
) -> Result<TokenStream, PoolError> {
    loop {
        let asked = model.chat(history.clone(), arguments.params.clone()).await;
        let too_long = matches!(
            asked,
            Err(PoolError::Model {
                source: ModelError::PromptTooLong { .. },
                ..
            })
        );
        // A question and its answer go together; the last question stays.
        if !too_long || history.len() < beginning + 3 {
            return asked;
        }
        history.drain(beginning..beginning + 2);
    }
}

/// Shows the answer as it comes, until it ends or Ctrl-C stops it.
async fn read(mut stream: TokenStream, screen: &Screen) -> Result<String, PoolError> {
    let mut said = String::new();
    loop {
        let chunk = tokio::select! {
            chunk = stream.next() => chunk,
            _ = tokio::signal::ctrl_c() => {
                // With the stream, the request is dropped.
                screen.aside(" — stopped");
                return Ok(said);
            }
        };
        let Some(chunk) = chunk.transpose()? else {
            return Ok(said);
        };
        screen.say(&chunk.text);
        said.push_str(&chunk.text);
        if let Some(summary) = chunk.summary {
            screen.say("\n");
            screen.aside(&screen::account(&summary));
        }
    }
}
