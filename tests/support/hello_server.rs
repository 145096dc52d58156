// For the examples in the documentation, which include this file as an expression: starts a server that responds to
// each request with `hello`, or with 404 if its path begins with `/missing`. Its value is the server's address, as in
// `http://127.0.0.1:1234`.
{
    use std::io::{BufRead, BufReader, Write};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("the port");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            let status = if head.contains(" /missing") { "404 Not Found" } else { "200 OK" };
            let response = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
            let _ = (&stream).write_all(response.as_bytes());
        }
    });
    format!("http://{address}")
}
