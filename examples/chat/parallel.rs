//! Several questions at once: they share the worker's steps.

use std::error::Error;
use std::time::Instant;

use console::style;
use futures_util::future::try_join_all;
use indicatif::ProgressBar;
use modelpool::{ChatMessage, ModelHandle, Pool, PoolError, Summary, TextToText};

use crate::arguments::Arguments;
use crate::screen::{self, Screen};

pub async fn answer_all(
    pool: &Pool,
    model: &ModelHandle<TextToText>,
    arguments: &Arguments,
    screen: &Screen,
) -> Result<(), Box<dyn Error>> {
    let started = Instant::now();
    let lines = screen.lines(arguments.parallel.len());
    let asked = arguments.parallel.iter().zip(lines);
    let answers = asked.map(|(question, line)| answer(model, question, arguments, line));
    let answers = tokio::select! {
        answers = try_join_all(answers) => answers?,
        _ = tokio::signal::ctrl_c() => return Ok(()),
    };
    let took = started.elapsed();
    for (question, (text, summary)) in arguments.parallel.iter().zip(&answers) {
        screen.say(&format!("\n{} {}\n", style("›").cyan().bold(), question));
        screen.say(&format!("{}\n", text.trim()));
        screen.aside(&screen::account(summary));
    }
    let tokens: usize = answers
        .iter()
        .map(|(_, summary)| summary.usage.completion_tokens)
        .sum();
    screen.aside(&format!(
        "\n{} answers in {}: {:.0} tokens/s together · {}",
        answers.len(),
        screen::short(took),
        tokens as f64 / took.as_secs_f64(),
        screen::memory(&pool.status())
    ));
    Ok(())
}

async fn answer(
    model: &ModelHandle<TextToText>,
    question: &str,
    arguments: &Arguments,
    line: ProgressBar,
) -> Result<(String, Summary), PoolError> {
    let system = arguments.system.iter().map(ChatMessage::system);
    let messages = system.chain([ChatMessage::user(question)]);
    let mut stream = model.chat(messages, arguments.params.clone()).await?;
    let mut text = String::new();
    while let Some(chunk) = stream.next().await.transpose()? {
        text.push_str(&chunk.text);
        line.set_message(screen::tail(&text));
        if let Some(summary) = chunk.summary {
            line.finish_and_clear();
            return Ok((text, summary));
        }
    }
    Err(PoolError::ShuttingDown)
}
