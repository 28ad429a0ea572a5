//! Splitting a stream into lines, wherever its pieces were cut.

/// Longest line that is looked at. A longer one passes through unread.
const LONGEST_LINE_BYTES: usize = 1024 * 1024;

/// What has come of the current line.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    too_long: bool,
}

impl Lines {
    /// Calls `on_line` for every line that `piece` completes, without its end (`\n` or `\r\n`).
    pub(crate) fn feed(&mut self, piece: &[u8], mut on_line: impl FnMut(&[u8])) {
        let mut rest = piece;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            let (line, after) = rest.split_at(end);
            rest = after.get(1..).unwrap_or_default();
            if self.begun.is_empty() && !self.too_long {
                on_line(without_carriage_return(line));
            } else {
                self.keep(line);
                if !self.too_long {
                    on_line(without_carriage_return(&self.begun));
                }
                self.begun.clear();
                self.too_long = false;
            }
        }
        self.keep(rest);
    }

    /// Calls `on_line` for a last line that has no end.
    pub(crate) fn finish(&mut self, on_line: impl FnOnce(&[u8])) {
        if !self.begun.is_empty() && !self.too_long {
            on_line(without_carriage_return(&self.begun));
        }
        self.begun.clear();
    }

    fn keep(&mut self, part: &[u8]) {
        if self.too_long {
            return;
        }
        if self.begun.len() + part.len() > LONGEST_LINE_BYTES {
            self.too_long = true;
            self.begun = Vec::new();
            return;
        }
        self.begun.extend_from_slice(part);
    }
}

fn without_carriage_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn split(pieces: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut seen = Vec::new();
        for piece in pieces {
            lines.feed(piece, |line| seen.push(line.to_vec()));
        }
        lines.finish(|line| seen.push(line.to_vec()));
        seen
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_is_read() {
        let long = vec![b'x'; LONGEST_LINE_BYTES];
        assert_eq!(split(&[b"a\n", &long, b"x", b"y\nb\n"]), [b"a".to_vec(), b"b".to_vec()]);
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'\r'), Just(b'a')], 0..60),
            cuts in proptest::collection::vec(0_usize..60, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(text.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut from = 0;
            for cut in cuts {
                pieces.push(&text[from..cut]);
                from = cut;
            }
            pieces.push(&text[from..]);
            prop_assert_eq!(split(&pieces), split(&[&text]));
        }
    }
}
