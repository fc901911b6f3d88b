use super::*;

fn token(text: &str) -> (tempfile::TempDir, Result<Token, TokenError>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, text).unwrap();
    (dir, Token::read(path))
}

fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
}

#[test]
fn the_token_is_compared_as_a_whole() {
    let (_dir, token) = token("0123456789abcdef\n");
    let token = token.unwrap();
    let admits = |value| token.admits(&headers(&[(header::AUTHORIZATION, value)]));
    assert!(admits("Bearer 0123456789abcdef"));
    assert!(admits("bearer 0123456789abcdef"));
    for wrong in [
        "Bearer 0123456789abcde",
        "Bearer 0123456789abcdefg",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
        "Bearer",
        "Bearer ",
    ] {
        assert!(!admits(wrong), "{wrong}");
    }
    assert!(!token.admits(&HeaderMap::new()));
}

#[test]
fn a_token_that_can_be_guessed_or_not_be_sent_is_refused() {
    for text in ["", "short", "0123456789 abcdef", "0123456789abcde\u{e9}f", "0123456789\nabcdef"] {
        let error = token(text).1.err().unwrap().to_string();
        assert!(error.contains("at least 16 visible ASCII characters"), "{error}");
    }
    let missing = Token::read("/nowhere/token".into()).err().unwrap().to_string();
    assert!(missing.contains("/nowhere/token can't be read"), "{missing}");
}

#[test]
fn without_a_token_only_loopback_names_are_answered() {
    let check = |uri: &'static str, pairs: &[(header::HeaderName, &str)]| {
        from_this_machine(&headers(pairs), &Uri::from_static(uri)).is_ok()
    };
    for host in ["localhost", "LOCALHOST:15080", "127.0.0.1:15080", "127.9.9.9", "[::1]:15080", "[::1]"] {
        assert!(check("/v1/splits", &[(header::HOST, host)]), "{host}");
    }
    for host in ["evil.example:15080", "localhost.evil.example", "10.0.0.1", "", "0.0.0.0:15080"] {
        assert!(!check("/v1/splits", &[(header::HOST, host)]), "{host}");
    }
    assert!(!check("/v1/splits", &[]));
    assert!(check("http://127.0.0.1:15080/v1/splits", &[]), "HTTP/2 has the authority in the URI");
    assert!(!check("http://evil.example/v1/splits", &[(header::HOST, "localhost")]));
    assert!(check("/", &[(header::HOST, "localhost"), (header::ORIGIN, "http://localhost:3000")]));
    for origin in ["http://evil.example", "null", "file://"] {
        assert!(!check("/", &[(header::HOST, "localhost"), (header::ORIGIN, origin)]), "{origin}");
    }
}
