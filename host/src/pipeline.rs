//! The main path of one message.
