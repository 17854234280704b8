//! Reads methods, addresses, and the names of secrets.

use super::Reader;
use crate::capability::{
    GrammarError, HostScope, HttpScope, NAMES_MAX, Schemes,
    form::Form,
    http::{
        METHOD_BYTES_MAX, METHODS_MAX, PATH_PREFIX_MAX, SECRETS_MAX, is_secret_name, normal_segment,
    },
};
use std::collections::BTreeSet;

impl Reader<'_> {
    /// `GET,HEAD https://api.example.com/v1 using github_token`.
    pub(in crate::capability) fn http(&mut self) -> Result<Form, GrammarError> {
        let mut methods = BTreeSet::new();
        loop {
            let start = self.at;
            let method = self.take_while(|character| {
                character.is_ascii_alphabetic() || matches!(character, '-' | '_')
            });
            if method.is_empty() || method.len() > METHOD_BYTES_MAX || methods.len() >= METHODS_MAX
            {
                return Err(self.error(
                    start,
                    "methods and then an address, as in `GET,HEAD https://example.com`",
                ));
            }
            methods.insert(method.to_ascii_uppercase());
            if !self.eat(',') {
                break;
            }
            self.spaces();
        }
        if !matches!(self.peek(), Some(' ' | '\t')) {
            return Err(self.expected(
                "a space and an address: methods come first, as in `GET https://example.com`",
            ));
        }
        self.spaces();
        let form = self.target(methods)?;
        self.spaces();
        let start = self.at;
        if self.rest().is_empty() || self.at_limits() {
            return Ok(form);
        }
        let secrets = self.using()?;
        match form {
            Form::Http(scope) if scope.keeps_secrets() => {
                Ok(Form::Http(HttpScope { secrets, ..scope }))
            }
            Form::Http(_) => Err(self.error(
                start,
                "no secrets here: they go to a host or domain that is named, over https or to a private address",
            )),
            _ => Err(self.error(
                start,
                "no secrets here: they go to a host that is written out, not to a parameter's",
            )),
        }
    }

    /// `using name`, `using [a, b]`.
    fn using(&mut self) -> Result<BTreeSet<String>, GrammarError> {
        let start = self.at;
        if self.take_while(|character| character.is_ascii_alphabetic()) != "using" {
            return Err(self.error(
                start,
                "`using` and the name of a secret, limits, or the end",
            ));
        }
        self.spaces();
        let mut secrets = BTreeSet::new();
        if !self.eat('[') {
            secrets.insert(self.secret()?);
            return Ok(secrets);
        }
        loop {
            self.spaces();
            if secrets.len() >= SECRETS_MAX {
                return Err(self.expected(format!("at most {SECRETS_MAX} secrets")));
            }
            secrets.insert(self.secret()?);
            self.spaces();
            if self.eat(']') {
                return Ok(secrets);
            }
            if !self.eat(',') {
                return Err(self.expected("`,` or `]`"));
            }
        }
    }

    fn secret(&mut self) -> Result<String, GrammarError> {
        let start = self.at;
        let name = self.take_while(|character| character.is_alphanumeric() || character == '_');
        if is_secret_name(name) {
            Ok(name.to_owned())
        } else {
            Err(self.error(
                start,
                "the name of a secret: lower-case letters, digits and `_`, a letter first",
            ))
        }
    }

    pub(super) fn network(&mut self) -> Result<Vec<Form>, GrammarError> {
        let mut forms = Vec::new();
        loop {
            self.spaces();
            if forms.len() >= NAMES_MAX {
                return Err(self.expected(format!("at most {NAMES_MAX} hosts")));
            }
            forms.push(self.target(BTreeSet::from(["GET".to_owned()]))?);
            self.spaces();
            if !self.eat(',') {
                return Ok(forms);
            }
        }
    }

    fn target(&mut self, methods: BTreeSet<String>) -> Result<Form, GrammarError> {
        if self.peek() == Some('{') {
            return Ok(Form::HttpHole {
                methods,
                hole: self.hole()?,
            });
        }
        let stop = |character: char| {
            character.is_whitespace()
                || character.is_control()
                || matches!(character, ',' | '{' | '}')
        };
        let start = self.at;
        let text = self.take_while(|character| !stop(character));
        let (schemes, rest) = match text.split_once("://") {
            None => (Schemes::Both, text),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (Schemes::Http, rest),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (Schemes::Https, rest),
            Some(_) => return Err(self.error(start, "http or https")),
        };
        let begin = self.at - rest.len();
        if let Some(odd) = rest.find(['?', '#', '@', '\\']) {
            return Err(self.error(
                begin + odd,
                "host, port and path only: no credentials, query or fragment",
            ));
        }
        let (authority, path) = rest
            .find('/')
            .map_or((rest, ""), |slash| rest.split_at(slash));
        let (host, port) = self.host_and_port(authority, begin, schemes)?;
        let path_prefix = self.prefix(path, begin + authority.len())?;
        Ok(Form::Http(HttpScope {
            schemes,
            host,
            port,
            methods,
            path_prefix,
            secrets: BTreeSet::new(),
        }))
    }

    fn host_and_port(
        &self,
        authority: &str,
        at: usize,
        schemes: Schemes,
    ) -> Result<(HostScope, Option<u16>), GrammarError> {
        let after_bracket = authority.find(']').map_or(0, |bracket| bracket + 1);
        let colon = authority
            .get(after_bracket..)
            .and_then(|rest| rest.find(':'))
            .map(|found| after_bracket + found);
        let (host, port) = match colon {
            Some(colon) => (
                authority.get(..colon).unwrap_or_default(),
                authority.get(colon + 1..),
            ),
            None => (authority, None),
        };
        let port = match port {
            None => schemes.default_port(),
            Some("*") => None,
            Some(digits) => {
                let number = digits
                    .bytes()
                    .all(|byte| byte.is_ascii_digit())
                    .then(|| digits.parse::<u16>().ok())
                    .flatten();
                Some(
                    number
                        .filter(|port| *port > 0)
                        .ok_or_else(|| self.error(at, "a port from 1 to 65535, or `*` for any"))?,
                )
            }
        };
        let scope = match (host, host.strip_prefix("*.")) {
            ("*", _) => HostScope::Public,
            ("", _) => {
                return Err(self.error(at, "a host, `*.domain`, or `*` for every public host"));
            }
            (_, Some(domain)) => HostScope::beneath(domain)
                .map_err(|error| self.error(at, format!("a domain after `*.` ({error})")))?,
            (host, None) => HostScope::exact(host)
                .map_err(|error| self.error(at, format!("a host that can be granted ({error})")))?,
        };
        Ok((scope, port))
    }

    fn prefix(&self, path: &str, at: usize) -> Result<Vec<String>, GrammarError> {
        let mut segments: Vec<&str> = path.split('/').skip(1).collect();
        // A prefix means everything beneath it, so the star that people write after it adds nothing.
        if matches!(segments.last(), Some(&("" | "*" | "**"))) {
            segments.pop();
        }
        let normal: Option<Vec<String>> = segments
            .iter()
            .map(|segment| {
                normal_segment(segment)
                    .filter(|normal| !normal.is_empty() && !segment.contains('*'))
            })
            .collect();
        match normal {
            Some(prefix) if prefix.len() <= PATH_PREFIX_MAX => Ok(prefix),
            _ => Err(self.error(at, format!("a path of at most {PATH_PREFIX_MAX} plain components; everything beneath it is granted too"))),
        }
    }
}
