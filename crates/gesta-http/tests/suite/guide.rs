//! Compares the code of the guide to HTTP with the example, block by block.

const GUIDE: &str = include_str!("../../../../docs/guide/http.md");
const EXAMPLE: &str = include_str!("../../examples/library.rs");

#[test]
fn the_blocks_of_the_guide_to_http_are_the_example_from_top_to_bottom() {
    let (_, program) = EXAMPLE.split_once("\n\n").unwrap();
    let blocks: Vec<&str> =
        GUIDE.split("```rust\n").skip(1).map(|after| after.split_once("```").unwrap().0).collect();
    assert_eq!(blocks.join("\n"), program);
}
