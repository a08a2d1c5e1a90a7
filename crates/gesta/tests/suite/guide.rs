//! The code of the guide's pages: compared with the example, or the modules below, whose parts the
//! pages show. `cargo xtask tidy` finds a block that no file has.

mod boundaries;
mod changing_events;
mod changing_processes;
mod effects;
mod read_models;
mod snapshots;
mod stores;
mod transfers;
mod uniqueness;

const GUIDE: &str = include_str!("../../../../docs/guide/first-service.md");
const EXAMPLE: &str = include_str!("../../examples/first_service.rs");

#[test]
fn the_blocks_of_the_guide_are_the_example_from_top_to_bottom() {
    let (_, program) = EXAMPLE.split_once("\n\n").unwrap();
    let blocks: Vec<&str> =
        GUIDE.split("```rust\n").skip(1).map(|after| after.split_once("```").unwrap().0).collect();
    assert_eq!(blocks.join("\n"), program);
}
