//! Catalogues: what operators declare in files.

pub mod roles;
