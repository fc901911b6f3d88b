//! What the codec of HTTP/1 costs, in instructions; `make instructions` compares it with what was accepted.
//!
//! As in `proxy/rules/benches/decisions`, each benchmark reads or writes [`TIMES`] messages, after as many that are not
//! counted. What is read is copied first, as it is where it comes from a socket.

#![allow(missing_docs, reason = "the benchmarks' macros make what nobody else sees")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "what is prepared here is known to be well formed")]

use std::hint::black_box;

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use http::{Method, Request, Response};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use weft_proxy::bench;

/// How many messages are counted.
const TIMES: usize = 2000;

/// So many messages.
type Messages = Box<dyn FnMut()>;

/// As a browser sends it.
const BROWSER: &str = "GET /shop/v1/orders/17?full=1 HTTP/1.1\r\n\
    Host: shop.default.svc.cluster.local\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: de,en-US;q=0.7,en;q=0.3\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Cookie: theme=dark; session=0a0001051f90; lang=de\r\n\
    Connection: keep-alive\r\n\r\n";

/// As programs send it, in lower case.
const PROGRAM: &str = "POST /shop/v1/orders HTTP/1.1\r\n\
    host: shop.default.svc.cluster.local\r\n\
    content-type: application/json\r\n\
    content-length: 0\r\n\
    x-request-id: 5f8c1c4e-7a8e-4b57-a8d0-6a1a3c0ce1b4\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n";

/// Spelled as nobody else does, so that the spelling is kept name by name.
const ODD: &str =
    "GET /shop HTTP/1.1\r\nHOST: shop\r\nSOAPAction: \"orders\"\r\nX-API-Key: 17\r\nuser-agent: odd\r\n\r\n";

const ANSWER: &str = "HTTP/1.1 200 OK\r\n\
    Date: Fri, 27 Nov 2026 01:01:26 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    Cache-Control: private, max-age=0\r\n\
    Vary: Accept-Encoding\r\n\
    Server: nginx/1.27.0\r\n\r\n";

const CHUNKED_ANSWER: &str = "HTTP/1.1 200 OK\r\n\
    date: Fri, 27 Nov 2026 01:01:26 GMT\r\n\
    content-type: text/html\r\n\
    transfer-encoding: chunked\r\n\r\n";

const CHUNKS: &str = "5\r\nhello\r\n10\r\n0123456789abcdef\r\n1;name=value\r\n!\r\n0\r\n\r\n";
const TRAILERS: &str = "5\r\nhello\r\n0\r\ngrpc-status: 0\r\ngrpc-message: \r\n\r\n";

#[library_benchmark]
#[bench::read_request_title(read_request(BROWSER))]
#[bench::read_request_lower(read_request(PROGRAM))]
#[bench::read_request_odd(read_request(ODD))]
#[bench::read_response(read_response(ANSWER))]
#[bench::read_response_chunked(read_response(CHUNKED_ANSWER))]
#[bench::write_request_title(write_request(BROWSER, false))]
#[bench::write_request_lower(write_request(PROGRAM, true))]
#[bench::write_request_odd(write_request(ODD, false))]
#[bench::write_response(write_response(ANSWER, false))]
#[bench::write_response_chunked(write_response(CHUNKED_ANSWER, true))]
#[bench::read_chunks(read_chunks(CHUNKS))]
#[bench::read_trailers(read_chunks(TRAILERS))]
#[bench::write_chunks(write_chunks())]
fn http1(mut messages: Messages) -> Messages {
    messages();
    messages
}

library_benchmark_group!(name = http1_group, benchmarks = http1);
main!(library_benchmark_groups = http1_group);

/// The same message again and again, which was done as often before.
fn messages<M>(mut message: impl FnMut() -> M + 'static) -> Messages {
    let mut all = move || {
        for _ in 0..TIMES {
            black_box(message());
        }
    };
    all();
    Box::new(all)
}

fn read(text: &str) -> Bytes {
    Bytes::copy_from_slice(black_box(text.as_bytes()))
}

fn read_request(text: &'static str) -> Messages {
    messages(move || bench::read_request(&mut read(text)).expect("an ordinary request"))
}

fn read_response(text: &'static str) -> Messages {
    messages(move || bench::read_response(&mut read(text), &Method::GET).expect("an answer"))
}

fn write_request(text: &str, is_chunked: bool) -> Messages {
    let request: Request<()> = bench::read_request(&mut read(text)).expect("an ordinary request");
    messages(move || bench::write_request(black_box(&request), is_chunked))
}

fn write_response(text: &str, is_chunked: bool) -> Messages {
    let response: Response<()> = bench::read_response(&mut read(text), &Method::GET).expect("an answer");
    let (parts, ()) = response.into_parts();
    messages(move || bench::write_response(black_box(&parts), is_chunked))
}

fn read_chunks(text: &'static str) -> Messages {
    // Leaked: a socket works no longer than what it was opened in.
    let runtime = Box::leak(Box::new(Builder::new_current_thread().enable_io().build().unwrap()));
    let socket = runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
    });
    let mut reader = bench::ChunkReader::new(socket);
    messages(move || reader.read(&mut read(text)).expect("a whole body"))
}

fn write_chunks() -> Messages {
    let parts = ["hello", "0123456789abcdef", "!"].map(|part| Bytes::from_static(part.as_bytes()));
    messages(move || bench::write_chunks(black_box(&parts)).expect("a whole body"))
}
