//! HTTP/1 messages as bytes: taken apart without judging, so that two can be compared to the letter.

use anyhow::{Context, Result, ensure};

/// Headers that are for one hop alone, RFC 9110 section 7.6.1, and those that frame the message.
const ONE_HOP: [&str; 6] =
    ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "content-length"];

/// A message, its body without chunk framing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The request line or status line.
    pub start: String,
    /// Header lines, in order, in the case that they have.
    pub headers: Vec<String>,
    /// The content.
    pub body: Vec<u8>,
    /// Trailer lines.
    pub trailers: Vec<String>,
}

impl Message {
    /// Takes a message apart.
    ///
    /// # Errors
    /// Where the head does not end, or a chunk is cut short.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text = || format!("in {:?}", String::from_utf8_lossy(bytes));
        let (head, rest) = split(bytes, b"\r\n\r\n").with_context(text)?;
        let mut lines = std::str::from_utf8(head)?.split("\r\n").map(str::to_owned);
        let start = lines.next().unwrap_or_default();
        let headers: Vec<String> = lines.collect();
        let chunked = headers.iter().any(|line| line.eq_ignore_ascii_case("transfer-encoding: chunked"));
        let (body, trailers) = if chunked { dechunk(rest).with_context(text)? } else { (rest.to_vec(), Vec::new()) };
        Ok(Self { start, headers, body, trailers })
    }

    /// The header lines that every hop must pass on as they are.
    pub fn end_to_end(&self) -> Vec<&str> {
        let name = |line: &str| line.split(':').next().unwrap_or_default().to_ascii_lowercase();
        let lines = self.headers.iter().map(String::as_str);
        lines.filter(|line| !ONE_HOP.contains(&name(line).as_str())).collect()
    }

    /// The value of a header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        let pairs = self.headers.iter().filter_map(|line| line.split_once(':'));
        pairs.filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim()).next()
    }
}

/// Asserts that `arrived` is `sent` but for what is one hop's own, and for the case of trailers: these have none on the
/// HTTP/2 between sidecars.
///
/// # Errors
/// With both messages.
pub fn same_end_to_end(sent: &[u8], arrived: &[u8]) -> Result<()> {
    let (sent, arrived) = (Message::parse(sent)?, Message::parse(arrived)?);
    let lower = |lines: &[String]| lines.iter().map(|line| line.to_ascii_lowercase()).collect::<Vec<_>>();
    let same = sent.start == arrived.start
        && sent.end_to_end() == arrived.end_to_end()
        && sent.body == arrived.body
        && lower(&sent.trailers) == lower(&arrived.trailers);
    ensure!(same, "sent {sent:#?}\narrived {arrived:#?}");
    Ok(())
}

type Content = (Vec<u8>, Vec<String>);

fn dechunk(mut rest: &[u8]) -> Result<Content> {
    let mut body = Vec::new();
    loop {
        let (size, after) = split(rest, b"\r\n").context("no chunk size")?;
        let size = usize::from_str_radix(std::str::from_utf8(size)?, 16)?;
        if size == 0 {
            let lines = std::str::from_utf8(after)?.split("\r\n");
            return Ok((body, lines.filter(|line| !line.is_empty()).map(str::to_owned).collect()));
        }
        body.extend_from_slice(after.get(..size).context("a chunk is cut short")?);
        rest = after.get(size + 2..).context("a chunk has no end")?;
    }
}

fn split<'a>(bytes: &'a [u8], at: &[u8]) -> Result<(&'a [u8], &'a [u8])> {
    let end = bytes.windows(at.len()).position(|window| window == at).context("the message does not end")?;
    let (before, after) = bytes.split_at(end);
    Ok((before, after.get(at.len()..).unwrap_or_default()))
}

#[cfg(test)]
mod tests;
