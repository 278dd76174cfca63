//! Files that are no ONNX, or more of it than is supported.

use modelpool::ModelError;
use modelpool::models::{OnnxArray, OnnxModel};

use crate::real_models::tiny_ocr;

fn read(bytes: &[u8]) -> Result<OnnxModel, ModelError> {
    OnnxModel::from_bytes("bad.onnx", bytes)
}

fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut message = vec![tag << 3 | 2];
    let mut length = content.len();
    while length > 127 {
        message.push(length as u8 | 128);
        length >>= 7;
    }
    message.push(length as u8);
    message.extend_from_slice(content);
    message
}

/// A file of a graph's messages.
fn file(graph: &[u8], operator_set: u8) -> Vec<u8> {
    [field(7, graph), field(8, &[2 << 3, operator_set])].concat()
}

fn node(inputs: [&str; 2], output: &str, operator: &str) -> Vec<u8> {
    let inputs = inputs.map(|name| field(1, name.as_bytes()));
    let (output, operator) = (field(2, output.as_bytes()), field(4, operator.as_bytes()));
    field(1, &[&inputs.concat()[..], &output, &operator].concat())
}

/// A file of one node, from `x` to `y`.
fn one_node(operator: &str, operator_set: u8) -> Vec<u8> {
    let node = [
        field(1, b"x"),
        field(2, b"y"),
        field(4, operator.as_bytes()),
    ]
    .concat();
    let (input, output) = (field(1, b"x"), field(1, b"y"));
    let graph = [field(1, &node), field(11, &input), field(12, &output)].concat();
    file(&graph, operator_set)
}

#[test]
fn a_graph_of_too_many_nodes_is_refused() {
    let graph = node(["x", "x"], "y", "Add").repeat(100_001);
    let error = read(&file(&graph, 11)).expect_err("too many");
    assert!(error.to_string().contains("100001 nodes"), "{error}");
}

/// A tensor of zeros, its sides as they are coded.
fn numbers(name: &str, shape: [&[u8]; 2], count: usize) -> Vec<u8> {
    let sides = shape.map(|side| [&[1 << 3], side].concat()).concat();
    let values = vec![0; 4 * count];
    let named = [field(8, name.as_bytes()), field(9, &values)].concat();
    field(5, &[&sides[..], &[2 << 3, 1], &named].concat())
}

#[test]
fn constants_that_grow_out_of_a_small_file_are_refused() {
    // A row and a column of 4096 numbers make 2²⁴ of them each time that they are added.
    let (one, many): (&[u8], &[u8]) = (&[1], &[0x80, 0x20]);
    let weights = [
        numbers("r", [one, many], 4096),
        numbers("c", [many, one], 4096),
    ];
    let weights = weights.concat();
    let sums = ["a", "b"].map(|output| node(["r", "c"], output, "Add"));
    read(&file(&[&weights[..], &sums[0]].concat(), 11)).expect("as many as are allowed");
    let error = read(&file(&[&weights[..], &sums.concat()].concat(), 11)).expect_err("twice that");
    assert!(error.to_string().contains("constants grow"), "{error}");
}

#[test]
fn constants_that_take_long_to_compute_are_refused() {
    // Two matrices of 256 by 256 take 2²⁴ operations, and 2³⁰ are allowed.
    let side: &[u8] = &[0x80, 0x02];
    let weights = numbers("m", [side, side], 1 << 16);
    let products: Vec<Vec<u8>> = (0..64)
        .map(|number| node(["m", "m"], &format!("p{number}"), "MatMul"))
        .collect();
    let of = |count: usize| file(&[&weights[..], &products[..count].concat()].concat(), 11);
    read(&of(63)).expect("as many as are allowed");
    let error = read(&of(64)).expect_err("one more");
    assert!(error.to_string().contains("constants take"), "{error}");
}

#[test]
fn an_unknown_operator_is_named_when_the_file_is_read() {
    let error = read(&one_node("Gelu", 11)).expect_err("it is not built in");
    let ModelError::UnsupportedOperator { operator, .. } = error else {
        panic!("{error}");
    };
    assert_eq!(operator, "Gelu");
}

#[test]
fn another_operator_set_is_refused() {
    let error = read(&one_node("Relu", 17)).expect_err("another set");
    assert!(matches!(&error, ModelError::InvalidConfig { field, .. } if field == "opset_import"));
    read(&one_node("Relu", 11)).expect("the same of a known set");
}

#[test]
fn garbage_and_cut_off_files_are_corrupt_and_harm_nobody() {
    for bytes in [&b"not at all"[..], &[0x3a, 0xff, 0xff, 0xff, 0xff, 0x0f]] {
        let error = read(bytes).expect_err("no ONNX file");
        assert!(matches!(error, ModelError::Corrupt { .. }), "{error}");
    }
    let whole = std::fs::read(tiny_ocr().join("PP-OCRv6_rec_tiny.onnx")).expect("the file");
    for part in 1..20 {
        read(&whole[..whole.len() * part / 20]).expect_err("part of a file");
    }
}

#[test]
fn inputs_that_do_not_fit_are_refused_and_name_the_place() {
    let model = OnnxModel::open(tiny_ocr().join("PP-OCRv6_rec_tiny.onnx")).expect("it is read");
    assert!(matches!(model.run(&[]), Err(ModelError::Operator { .. })));
    for shape in [
        vec![],
        vec![3],
        vec![1, 2, 48, 96],
        vec![1, 3, 1, 1],
        vec![1, 3, 48, 0],
        vec![0, 3, 48, 96],
    ] {
        let count = shape.iter().product();
        let input = OnnxArray::new(shape.clone(), vec![0.5; count]).expect("a full array");
        let outcome = model.run(&[input]);
        assert!(
            matches!(outcome, Err(ModelError::Operator { .. })),
            "{shape:?}"
        );
    }
    assert!(OnnxArray::new(vec![usize::MAX, 2], Vec::new()).is_none());
    // Nothing in it, but sides whose product no machine can count.
    assert!(OnnxArray::new(vec![0, 1, 1 << 40, 1 << 40], Vec::new()).is_none());
}
