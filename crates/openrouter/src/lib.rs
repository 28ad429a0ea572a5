//! What `OpenRouter` says on the wire, and a client for it.
//!
//! Reading is permissive, because the vendor calls every shape additive: what is not understood is left out, and
//! a cost that is not understood is unknown.

mod answer;
mod catalogue;
mod client;
mod generation;
mod json;
mod key;
mod lines;
mod management;
mod pieces;
mod quiet;
mod sender;
mod usage;

pub use answer::{AnswerReader, Told};
pub use catalogue::Offer;
pub use client::{Client, ClientError, ClientOptions, UpstreamError};
pub use generation::GenerationAnswer;
pub use key::{KeyAnswer, KeyCounter, hash_of_key};
pub use management::{
    CreatedKey, KeyChange, KeyRecord, LimitReset, Management, ManagementError, NewKey, StatedBy,
    StatementAnswer, StatementQuestion, StatementRow, StatementTerms, UnknownReset,
};
pub use pieces::Pieces;
pub use sender::{AnswerBody, Cut};
