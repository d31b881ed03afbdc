//! lovage
