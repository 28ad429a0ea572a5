//! The files of the page.

use crate::House;

#[tokio::test]
async fn the_page_is_served_with_a_strict_policy() {
    let house = House::new().await;
    let moved = house.ask("/usage").send().await.unwrap();
    assert_eq!((moved.status().as_u16(), &moved.headers()["location"]), (308, &"/usage/".parse().unwrap()));
    for (name, content_type) in [
        ("", "text/html; charset=utf-8"),
        ("mai-usage.js", "text/javascript; charset=utf-8"),
        ("mai-usage.css", "text/css; charset=utf-8"),
    ] {
        let file = house.ask(&format!("/usage/{name}")).send().await.unwrap();
        assert_eq!(
            (file.status().as_u16(), &file.headers()["content-type"]),
            (200, &content_type.parse().unwrap())
        );
        let policy = file.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.ends_with("frame-ancestors 'self' https://chat.example.com"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!(file.headers()["x-content-type-options"], "nosniff");
        let etag = file.headers()["etag"].clone();
        let again = house.ask(&format!("/usage/{name}")).header("if-none-match", etag).send().await.unwrap();
        assert_eq!(again.status(), 304);
    }
    for name in ["nothing.js", "..%2fCargo.toml", "%2e%2e%2fCargo.toml"] {
        assert_eq!(house.ask(&format!("/usage/{name}")).send().await.unwrap().status(), 404, "{name}");
    }
}
