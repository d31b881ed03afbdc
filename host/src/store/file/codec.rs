//! How is a message written in its row?

use lovage_model::Message;

/// Writes a message. Fails only for one that JSON cannot hold.
pub(super) fn encode(message: &Message) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(message)
}

/// Reads a message.
pub(super) fn decode(body: &[u8]) -> serde_json::Result<Message> {
    serde_json::from_slice(body)
}

/// How long the text of a message is.
pub(super) fn decoded_len(body: &[u8]) -> usize {
    body.len()
}
