//! One line of progress on a terminal, redrawn in place; on anything else a line now and then.

use std::{
    io::{IsTerminal, Write},
    time::{Duration, Instant},
};

/// A line of progress on standard error.
pub struct Line {
    is_terminal: bool,
    shown_at: Option<Instant>,
}

impl Default for Line {
    fn default() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown_at: None }
    }
}

impl Line {
    /// Redraws: at most five times a second on a terminal, every ten seconds elsewhere.
    pub fn show(&mut self, text: &str) {
        let pause = if self.is_terminal { Duration::from_millis(200) } else { Duration::from_secs(10) };
        if self.shown_at.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        self.shown_at = Some(Instant::now());
        let mut err = std::io::stderr().lock();
        // Progress is a courtesy: that it cannot be shown must not end the work.
        let _ = if self.is_terminal { write!(err, "\r\x1b[2K{text}") } else { writeln!(err, "{text}") };
        let _ = err.flush();
    }

    /// Shows `text` anew while `work` goes on.
    pub async fn while_working<T>(&mut self, text: impl Fn() -> String, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = tick.tick() => self.show(&text()),
            }
        };
        self.clear();
        done
    }

    /// Removes the line before something else is printed.
    pub fn clear(&mut self) {
        if self.is_terminal && self.shown_at.take().is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}

/// `1,234,567`
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_grouped() {
        assert_eq!([0, 999, 1000, 1234567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
