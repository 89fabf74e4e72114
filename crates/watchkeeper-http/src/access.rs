//! Decides which clients may use a route: by the token, and by the headers with which a browser names the page
//! that makes a request.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, PoisonError},
};

use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{AUTHORIZATION, COOKIE, HOST, HeaderName, ORIGIN},
    http::request::Parts,
};

use crate::token::Token;

/// The clients that may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// Everybody: it shows whether the program works, and no more.
    All,
    /// Programs of this machine, such as Prometheus and exporters. From other machines they need
    /// the token.
    Programs,
    /// People and programs with the token.
    Authorized,
}

/// The rules of a server about its clients.
#[derive(Debug)]
pub(crate) struct Access {
    token: Token,
    /// The name of the cookie, which a browser also sends to other ports of the host.
    cookie: String,
    /// The name of the host, if the address was given by one.
    name: Option<String>,
    is_loopback: bool,
    /// The code that opens the page once.
    code: Mutex<Option<Token>>,
}

/// The reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denial {
    NoHost,
    OtherHost,
    OtherPage,
    NoToken,
}

impl Denial {
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::NoHost => StatusCode::BAD_REQUEST,
            Self::OtherHost => StatusCode::MISDIRECTED_REQUEST,
            Self::OtherPage => StatusCode::FORBIDDEN,
            Self::NoToken => StatusCode::UNAUTHORIZED,
        }
    }

    pub(crate) const fn message(self) -> &'static str {
        match self {
            Self::NoHost => "the request has no header `Host`, or several",
            Self::OtherHost => {
                "the server has another name; use the address that `watchkeeper watch` has printed"
            }
            Self::OtherPage => "pages of other servers have no access",
            Self::NoToken => {
                "open the address that `watchkeeper watch` has printed, which contains the token; \
                 programs send it in the header `Authorization: Bearer TOKEN`"
            }
        }
    }
}

impl Access {
    /// `host` is the host of the address that the user has chosen, and `local` the address where
    /// the server listens.
    pub(crate) fn new(token: Token, host: &str, local: SocketAddr) -> Self {
        let name = host.parse::<IpAddr>().is_err().then(|| host.to_ascii_lowercase());
        Self {
            token,
            cookie: format!("watchkeeper-{}", local.port()),
            name,
            is_loopback: local.ip().is_loopback(),
            code: Mutex::default(),
        }
    }

    /// Returns the cookie that shows the token, for the header `Set-Cookie`.
    pub(crate) fn cookie(&self) -> String {
        let Self { token, cookie, .. } = self;
        format!("{cookie}={}; Path=/; HttpOnly; SameSite=Strict", token.expose())
    }

    /// Makes a code that opens the page once in place of the token.
    pub(crate) fn new_code(&self) -> io::Result<Token> {
        let code = Token::random()?;
        *self.code.lock().unwrap_or_else(PoisonError::into_inner) = Some(code.clone());
        Ok(code)
    }

    /// Returns whether a part of an address is the token, or the present code, which is used up.
    pub(crate) fn opens(&self, shown: &str) -> bool {
        let mut code = self.code.lock().unwrap_or_else(PoisonError::into_inner);
        self.token.matches(shown.as_bytes())
            || code.take_if(|code| code.matches(shown.as_bytes())).is_some()
    }

    /// Checks a request for a route. A person may follow a link to a route that `is_page`.
    pub(crate) fn check(
        &self,
        head: &Parts,
        audience: Audience,
        is_page: bool,
    ) -> Result<(), Denial> {
        let host = self.checked_host(&head.uri, &head.headers)?;
        let is_link = is_page && head.method == Method::GET && is_navigation(&head.headers);
        if !is_link && !is_of_own_page(&head.headers, host) {
            return Err(Denial::OtherPage);
        }
        let needs_token = match audience {
            Audience::All => false,
            Audience::Programs => !self.is_loopback,
            Audience::Authorized => true,
        };
        if needs_token && !self.has_token(&head.headers) {
            return Err(Denial::NoToken);
        }
        Ok(())
    }

    /// Returns the host that the client has asked for, if it is one of this server. A page of
    /// another server, whose name leads to this machine (DNS rebinding), asks for another host.
    fn checked_host<'h>(&self, uri: &'h Uri, headers: &'h HeaderMap) -> Result<&'h str, Denial> {
        let host = single(headers, &HOST).filter(|host| !host.is_empty()).ok_or(Denial::NoHost)?;
        // The address of a request to a proxy.
        let target = uri.authority().map_or(host, |authority| authority.as_str());
        if self.is_own(host) && target.eq_ignore_ascii_case(host) {
            Ok(host)
        } else {
            Err(Denial::OtherHost)
        }
    }

    fn is_own(&self, host: &str) -> bool {
        let name = without_port(host).to_ascii_lowercase();
        let in_brackets = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        if let Ok(ip) = in_brackets.unwrap_or(&name).parse::<IpAddr>() {
            // The name of no server of somebody else.
            return ip.is_loopback() || !self.is_loopback;
        }
        name == "localhost" || self.name.as_deref() == Some(&*name)
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        if let Some(authorization) = headers.get(AUTHORIZATION) {
            let shown = authorization.as_bytes().split_at_checked(b"Bearer ".len());
            return shown.is_some_and(|(scheme, shown)| {
                scheme.eq_ignore_ascii_case(b"Bearer ") && self.token.matches(shown.trim_ascii())
            });
        }
        let cookies = headers.get_all(COOKIE).iter().filter_map(|it| it.to_str().ok());
        let mut cookies = cookies.flat_map(|cookies| cookies.split(';'));
        cookies.any(|cookie| {
            let shown = cookie.trim().split_once('=').filter(|(name, _)| *name == self.cookie);
            shown.is_some_and(|(_, shown)| self.token.matches(shown.as_bytes()))
        })
    }
}

/// Returns whether a browser names no other page as the origin of a request.
fn is_of_own_page(headers: &HeaderMap, host: &str) -> bool {
    let origin = || single(headers, &ORIGIN).and_then(|origin| origin.split_once("://"));
    let is_own_origin = !headers.contains_key(ORIGIN)
        || origin().is_some_and(|(_, origin)| origin.eq_ignore_ascii_case(host));
    let site = headers.get("sec-fetch-site");
    is_own_origin && site.is_none_or(|site| site == "same-origin" || site == "none")
}

/// Returns whether a person opens an address in a window of its own.
fn is_navigation(headers: &HeaderMap) -> bool {
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|it| it == value);
    is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document")
}

/// Returns a header that a request has once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use hyper::{Request, http::request::Parts};

    use super::{Access, Audience, Denial};
    use crate::token::Token;

    const TOKEN: &str = "0123456789abcdef";
    const BEARER: (&str, &str) = ("authorization", "Bearer 0123456789abcdef");
    const HOST: (&str, &str) = ("host", "127.0.0.1:5337");

    fn access(host: &str, local: &str) -> Access {
        Access::new(Token::new(TOKEN).unwrap(), host, local.parse().unwrap())
    }

    fn loopback() -> Access {
        access("127.0.0.1", "127.0.0.1:5337")
    }

    fn head(target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::get(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn check(access: &Access, headers: &[(&str, &str)]) -> Result<(), Denial> {
        access.check(&head("/", headers), Audience::Authorized, false)
    }

    #[test]
    fn the_token_is_shown_in_a_header_or_a_cookie() {
        let access = loopback();
        assert_eq!(check(&access, &[HOST]), Err(Denial::NoToken));
        assert_eq!(check(&access, &[HOST, BEARER]), Ok(()));
        let cookie = access.cookie();
        assert_eq!(cookie, "watchkeeper-5337=0123456789abcdef; Path=/; HttpOnly; SameSite=Strict");
        let cookie = format!("a=b; {}", cookie.split(';').next().unwrap());
        assert_eq!(check(&access, &[HOST, ("cookie", &cookie)]), Ok(()));
        for (name, value) in [
            ("authorization", "Bearer 0123456789abcdeg"),
            ("authorization", "Basic 0123456789abcdef"),
            ("authorization", "é"),
            ("cookie", "watchkeeper-80=0123456789abcdef"),
            ("cookie", "watchkeeper-5337=0"),
            ("cookie", "watchkeeper-5337"),
        ] {
            assert_eq!(check(&access, &[HOST, (name, value)]), Err(Denial::NoToken), "{value}");
        }
    }

    #[test]
    fn a_code_opens_the_page_once() {
        let access = loopback();
        assert!(access.opens(TOKEN) && access.opens(TOKEN) && !access.opens(""));
        let (first, second) = (access.new_code().unwrap(), access.new_code().unwrap());
        assert!(!access.opens(first.expose()));
        assert!(access.opens(second.expose()));
        assert!(!access.opens(second.expose()));
    }

    #[test]
    fn names_of_other_servers_are_refused() {
        let access = loopback();
        for host in ["127.0.0.1", "127.0.0.1:80", "LOCALHOST:5337", "[::1]:5337", "localhost"] {
            assert_eq!(check(&access, &[("host", host), BEARER]), Ok(()), "{host}");
        }
        for host in
            ["evil.example:5337", "127.0.0.1.evil.example", "10.0.0.7", "[", ":", "a@localhost"]
        {
            let denied = check(&access, &[("host", host), BEARER]);
            assert_eq!(denied, Err(Denial::OtherHost), "{host}");
        }
        assert_eq!(check(&access, &[BEARER]), Err(Denial::NoHost));
        assert_eq!(check(&access, &[HOST, ("host", "localhost"), BEARER]), Err(Denial::NoHost));
    }

    #[test]
    fn the_address_of_a_request_to_a_proxy_has_the_same_host() {
        let access = loopback();
        let check =
            |target| access.check(&head(target, &[HOST, BEARER]), Audience::Authorized, false);
        assert_eq!(check("http://127.0.0.1:5337/"), Ok(()));
        assert_eq!(check("http://evil.example/"), Err(Denial::OtherHost));
    }

    #[test]
    fn a_server_for_other_machines_has_its_name_and_any_address() {
        let access = access("Build-7.example.com", "10.0.0.7:80");
        for host in ["build-7.example.com:80", "10.0.0.7", "192.168.0.1:8080", "localhost"] {
            assert_eq!(check(&access, &[("host", host), BEARER]), Ok(()), "{host}");
        }
        let denied = check(&access, &[("host", "evil.example"), BEARER]);
        assert_eq!(denied, Err(Denial::OtherHost));
    }

    #[test]
    fn pages_of_other_servers_are_refused_with_the_token_too() {
        let access = loopback();
        for (name, value) in [
            ("origin", "http://127.0.0.1:5337"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "none"),
        ] {
            assert_eq!(check(&access, &[HOST, BEARER, (name, value)]), Ok(()), "{value}");
        }
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "http://127.0.0.1:80"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let denied = check(&access, &[HOST, BEARER, (name, value)]);
            assert_eq!(denied, Err(Denial::OtherPage), "{value}");
        }
    }

    #[test]
    fn a_person_may_follow_a_link_to_the_page() {
        let headers = [
            HOST,
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
        ];
        let check = |is_page| loopback().check(&head("/", &headers), Audience::All, is_page);
        assert_eq!(check(true), Ok(()));
        assert_eq!(check(false), Err(Denial::OtherPage));
    }

    #[test]
    fn programs_need_the_token_from_other_machines_only() {
        let check = |access: Access, audience| access.check(&head("/", &[HOST]), audience, false);
        let other = || access("0.0.0.0", "0.0.0.0:5337");
        assert_eq!(check(loopback(), Audience::Programs), Ok(()));
        assert_eq!(check(other(), Audience::Programs), Err(Denial::NoToken));
        assert_eq!(check(other(), Audience::All), Ok(()));
    }
}
