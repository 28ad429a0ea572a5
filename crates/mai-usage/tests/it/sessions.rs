//! The sessions in the documents are what the program says.

#[test]
fn the_documents_tell_what_happens() {
    trycmd::TestCases::new().case("../../docs/operations.md");
}
