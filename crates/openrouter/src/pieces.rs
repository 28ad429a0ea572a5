//! The body of a completion's request.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Up to so many bytes pieces are joined: a copy of them costs less than frames of their own.
const JOINED_BYTES: usize = 16 * 1024;

/// A body in pieces, which are sent one after the other. A large one is not copied to be joined.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pieces(VecDeque<Bytes>);

impl Pieces {
    /// The body that `pieces` make, one after the other.
    #[must_use]
    pub fn new(mut pieces: Vec<Bytes>) -> Self {
        pieces.retain(|piece| !piece.is_empty());
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        if pieces.len() > 1 && bytes <= JOINED_BYTES {
            pieces = vec![pieces.concat().into()];
        }
        Self(pieces.into())
    }

    /// The pieces as they are sent.
    pub fn iter(&self) -> impl Iterator<Item = &Bytes> {
        self.0.iter()
    }

    fn bytes(&self) -> u64 {
        self.0.iter().map(|piece| piece.len() as u64).sum()
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }

    /// Exact: the length is sent before the body.
    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn small_pieces_are_one_frame_and_large_ones_are_not_copied() {
        let large = Bytes::from(vec![b'x'; JOINED_BYTES]);
        for (pieces, frames) in [
            (vec![], 0),
            (vec![Bytes::new()], 0),
            (vec![Bytes::from("a"), Bytes::new(), Bytes::from("b")], 1),
            (vec![Bytes::from("a"), large.clone(), Bytes::from("b")], 3),
        ] {
            let expected = pieces.concat();
            let body = Pieces::new(pieces);
            assert_eq!(body.iter().count(), frames);
            assert!(body.iter().all(|piece| piece.len() < JOINED_BYTES || piece.as_ptr() == large.as_ptr()));
            assert_eq!(body.size_hint().exact(), Some(expected.len() as u64));
            assert_eq!(body.is_end_stream(), expected.is_empty());
            assert_eq!(body.collect().await.unwrap().to_bytes(), expected);
        }
    }
}
