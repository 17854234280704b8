//! Reads path patterns.

use super::{Holes, Reader, begins_limits};
use crate::capability::{
    GrammarError,
    form::{Hole, PartForm, PathForm, PieceForm, Start},
    path,
};

/// One symbol of a path.
#[derive(Clone, PartialEq, Eq)]
enum Symbol {
    Slash,
    Text(char),
    Star,
    Hole(Hole),
}

/// How a path begins.
struct Beginning {
    start: Start,
    /// The steps of the directory a relative path is taken from.
    parts: Vec<PartForm>,
    relative: bool,
    /// Symbols that belong to the beginning.
    skip: usize,
}

impl Reader<'_> {
    /// A path pattern, up to the end or the limits.
    pub(in crate::capability) fn path(&mut self) -> Result<PathForm, GrammarError> {
        let start = self.at;
        let symbols = self.path_symbols()?;
        let Beginning {
            start: begin,
            mut parts,
            relative,
            skip,
        } = self.path_start(start, &symbols)?;
        let rest = symbols.get(skip..).unwrap_or_default();
        for component in rest.split(|(_, symbol)| *symbol == Symbol::Slash) {
            self.component(component, relative, &mut parts)?;
        }
        if parts.last() == Some(&PartForm::Pieces(vec![PieceForm::Star])) {
            parts.pop();
            parts.push(PartForm::Deep);
        }
        let path = PathForm {
            start: begin,
            parts,
        };
        if path.holes().filter(|hole| hole.each).count() > 1 {
            return Err(self.error(start, "at most one list parameter in a path"));
        }
        Ok(path)
    }

    fn path_symbols(&mut self) -> Result<Vec<(usize, Symbol)>, GrammarError> {
        let mut symbols = Vec::new();
        while let Some(character) = self.peek() {
            let at = self.at;
            let symbol = match character {
                ' ' | '\t' if self.only_spaces_left() => break,
                '{' if self.at_limits() => return Err(self.expected("a space before the limits")),
                '{' => Symbol::Hole(self.hole()?),
                '}' => return Err(self.expected("`\\}` for a brace in a path")),
                '\\' => Symbol::Text(self.escape()?),
                _ if character.is_control() => {
                    return Err(self.expected("`\\n` or `\\u{7f}` for a control character"));
                }
                _ => {
                    self.bump();
                    match character {
                        '/' => Symbol::Slash,
                        '*' => Symbol::Star,
                        _ => Symbol::Text(character),
                    }
                }
            };
            symbols.push((at, symbol));
        }
        Ok(symbols)
    }

    /// Whether only spaces lie before the end or the limits.
    fn only_spaces_left(&self) -> bool {
        let rest = self.rest().trim_start_matches([' ', '\t']);
        rest.is_empty() || begins_limits(rest)
    }

    fn path_start(
        &self,
        start: usize,
        symbols: &[(usize, Symbol)],
    ) -> Result<Beginning, GrammarError> {
        let root = |skip| Beginning {
            start: Start::Root,
            parts: Vec::new(),
            relative: false,
            skip,
        };
        match symbols {
            [] => Err(self.error(start, "a path")),
            [(_, Symbol::Slash), ..] => Ok(root(1)),
            [(_, Symbol::Hole(hole))] | [(_, Symbol::Hole(hole)), (_, Symbol::Slash), ..] => {
                Ok(Beginning {
                    start: Start::Hole(hole.clone()),
                    ..root(1)
                })
            }
            [(_, Symbol::Hole(_)), ..] => {
                Err(self.error(start, "`/` after a parameter that begins a path"))
            }
            [(at, Symbol::Text('~')), ..] => Err(self.error(
                *at,
                "an absolute path: `~` is the shell's; let the shell expand it, unquoted",
            )),
            _ => {
                let Some(base) = self.base else {
                    let templates = self.holes == Holes::Allowed;
                    let hint = if templates {
                        "begin with `{run}` or a parameter"
                    } else {
                        "`/*` is everything"
                    };
                    return Err(self.error(start, format!("an absolute path; {hint}")));
                };
                let parts = path::literal_parts(base);
                let parts = parts
                    .map_err(|error| self.error(start, format!("an absolute path ({error})")))?;
                Ok(Beginning {
                    parts: parts.into_iter().map(PartForm::from).collect(),
                    relative: true,
                    ..root(0)
                })
            }
        }
    }

    fn component(
        &self,
        symbols: &[(usize, Symbol)],
        relative: bool,
        parts: &mut Vec<PartForm>,
    ) -> Result<(), GrammarError> {
        let Some((at, _)) = symbols.first() else {
            return Ok(());
        };
        let mut pieces: Vec<PieceForm> = Vec::new();
        for (_, symbol) in symbols {
            match (symbol, pieces.last_mut()) {
                (Symbol::Text(character), Some(PieceForm::Text(text))) => text.push(*character),
                (Symbol::Text(character), _) => pieces.push(PieceForm::Text(character.to_string())),
                (Symbol::Star, _) => pieces.push(PieceForm::Star),
                (Symbol::Hole(hole), _) => pieces.push(PieceForm::Hole(hole.clone())),
                (Symbol::Slash, _) => {}
            }
        }
        match pieces.as_slice() {
            [PieceForm::Text(text)] if text == "." => {}
            [PieceForm::Text(text)] if text == ".." => match parts.pop() {
                Some(PartForm::Pieces(last))
                    if relative && matches!(last.as_slice(), [PieceForm::Text(_)]) => {}
                _ => return Err(self.error(*at, "no `..`: write the path without it")),
            },
            [PieceForm::Text(text)] if text.contains('/') => {
                return Err(self.error(*at, "no escaped slash: a name cannot hold one"));
            }
            [PieceForm::Star, PieceForm::Star] => parts.push(PartForm::Deep),
            _ if pieces
                .windows(2)
                .any(|pair| matches!(pair, [PieceForm::Star, PieceForm::Star])) =>
            {
                return Err(
                    self.error(*at, "`**` as a whole component, or a single `*` within one")
                );
            }
            _ => parts.push(PartForm::Pieces(pieces)),
        }
        Ok(())
    }
}
