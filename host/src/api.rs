//! Who asks, over HTTP?
