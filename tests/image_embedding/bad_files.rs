//! Legacy `.pth` files that lie, and those that do not.

use modelpool::models::{EfficientNetWeights, Pth};
use modelpool::{ModelError, ModelSpec};

use crate::real_models::efficientnet_lite0;

/// Writes such a file, piece by piece.
#[derive(Clone)]
struct File {
    magic: Vec<u8>,
    version: Vec<u8>,
    facts: Vec<u8>,
    object: Vec<u8>,
    keys: Vec<u8>,
    storages: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    let mut bytes = vec![b'X'];
    bytes.extend((text.len() as u32).to_le_bytes());
    bytes.extend(text.as_bytes());
    bytes
}

fn numbers(numbers: &[i32]) -> Vec<u8> {
    let mut bytes = vec![b'('];
    for number in numbers {
        bytes.push(b'J');
        bytes.extend(number.to_le_bytes());
    }
    bytes.push(b't');
    bytes
}

/// `_rebuild_tensor_v2(storage, first, shape, strides, False, OrderedDict())`
fn tensor(kind: &str, stored: i32, first: i32, shape: &[i32], strides: &[i32]) -> Vec<u8> {
    let mut bytes = b"ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
    bytes.extend(text("storage"));
    bytes.extend(format!("ctorch\n{kind}\n").as_bytes());
    bytes.extend(text("key"));
    bytes.extend(text("cpu"));
    bytes.push(b'J');
    bytes.extend(stored.to_le_bytes());
    bytes.extend(b"NtQJ");
    bytes.extend(first.to_le_bytes());
    bytes.extend(numbers(shape));
    bytes.extend(numbers(strides));
    bytes.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    bytes
}

fn file(tensor: &[u8], stored: u64, values: &[f32]) -> File {
    let pickle = |inner: &[u8]| [b"\x80\x02", inner, b"."].concat();
    let object = [
        b"ccollections\nOrderedDict\n)R(",
        &text("w")[..],
        tensor,
        b"u",
    ]
    .concat();
    let mut storages = stored.to_le_bytes().to_vec();
    storages.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    File {
        magic: pickle(b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"),
        version: pickle(b"M\xe9\x03"),
        facts: pickle(b"}"),
        object: pickle(&object),
        keys: pickle(&[b"]", &text("key")[..], b"a"].concat()),
        storages,
    }
}

impl File {
    fn bytes(&self) -> Vec<u8> {
        [
            &self.magic[..],
            &self.version,
            &self.facts,
            &self.object,
            &self.keys,
            &self.storages,
        ]
        .concat()
    }

    fn open(&self) -> Result<Pth, ModelError> {
        open(&self.bytes())
    }

    fn complaint(&self) -> String {
        match self.open() {
            Err(ModelError::Corrupt { detail, .. }) => detail,
            other => panic!("{other:?}"),
        }
    }
}

fn open(bytes: &[u8]) -> Result<Pth, ModelError> {
    let path = scrap(bytes);
    let opened = Pth::open(&path);
    std::fs::remove_file(path).unwrap();
    opened
}

fn scrap(bytes: &[u8]) -> std::path::PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("modelpool-{}-{number}.pth", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

const SIX: [f32; 6] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];

fn good() -> File {
    file(&tensor("FloatStorage", 6, 0, &[2, 3], &[3, 1]), 6, &SIX)
}

#[test]
fn tensors_are_read_by_their_strides() {
    for (first, shape, strides, wanted) in [
        (
            0,
            vec![2, 3],
            vec![3, 1],
            vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0],
        ),
        (
            0,
            vec![3, 2],
            vec![1, 3],
            vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0],
        ),
        (2, vec![2], vec![3], vec![3.0, 6.0]),
        (5, vec![], vec![], vec![6.0]),
        (0, vec![0, 3], vec![3, 1], vec![]),
    ] {
        let path =
            scrap(&file(&tensor("FloatStorage", 6, first, &shape, &strides), 6, &SIX).bytes());
        let read = Pth::open(&path).unwrap();
        assert_eq!(read.names().collect::<Vec<_>>(), ["w"]);
        assert_eq!(read.read("w").unwrap(), wanted);
        assert!(matches!(
            read.read("v"),
            Err(ModelError::MissingTensor { .. })
        ));
        std::fs::remove_file(path).unwrap();
    }
}

#[test]
fn values_that_are_no_weights_are_told() {
    let read = |file: File| {
        let path = scrap(&file.bytes());
        let read = Pth::open(&path).unwrap().read("w");
        std::fs::remove_file(path).unwrap();
        read.unwrap_err()
    };
    let mut values = SIX;
    values[4] = f32::NAN;
    let tensor_of = |kind| tensor(kind, 6, 0, &[6], &[1]);
    let error = read(file(&tensor_of("FloatStorage"), 6, &values));
    assert!(
        matches!(error, ModelError::NotFiniteWeights { .. }),
        "{error}"
    );
    let error = read(file(&tensor_of("IntStorage"), 6, &SIX));
    assert!(matches!(error, ModelError::WrongDtype { .. }), "{error}");
}

#[test]
fn what_lies_about_itself_is_told() {
    let of = |first, shape: &[i32], strides: &[i32]| {
        file(&tensor("FloatStorage", 6, first, shape, strides), 6, &SIX).complaint()
    };
    // Beyond the storage, by the shape, by the first value, by a stride; more than there is, by a stride of 0.
    assert!(of(0, &[7], &[1]).contains("outside"));
    assert!(of(1, &[6], &[1]).contains("outside"));
    assert!(of(0, &[2], &[6]).contains("outside"));
    assert!(of(0, &[1 << 30, 1 << 30], &[0, 0]).contains("outside"));
    assert!(of(0, &[i32::MAX, i32::MAX, i32::MAX], &[i32::MAX; 3]).contains("outside"));
    assert!(of(-1, &[6], &[1]).contains("no tensor"));
    assert!(of(0, &[6], &[1, 1]).contains("no tensor"));
    assert!(of(0, &[1; 9], &[1; 9]).contains("no tensor"));
    // A storage that is not as long as is said, or longer than the file.
    let whole = tensor("FloatStorage", 6, 0, &[6], &[1]);
    assert!(file(&whole, 7, &SIX).complaint().contains("not of 6"));
    assert!(
        file(&whole, 6, &SIX[..5])
            .complaint()
            .contains("after the file")
    );
    let huge = tensor("FloatStorage", i32::MAX, 0, &[6], &[1]);
    let huge = file(&huge, i32::MAX as u64, &SIX).complaint();
    assert!(huge.contains("after the file"), "{huge}");
    let unknown = tensor("QInt8Storage", 6, 0, &[6], &[1]);
    assert!(file(&unknown, 6, &SIX).complaint().contains("no tensor"));
}

#[test]
fn code_in_a_file_is_never_run() {
    let system = [b"cposix\nsystem\n(".to_vec(), text("true"), b"tR".to_vec()];
    let complaint = file(&system.concat(), 6, &SIX).complaint();
    assert!(complaint.contains("w is no tensor"), "{complaint}");
}

#[test]
fn a_pickle_is_bounded() {
    let with_object = |object: Vec<u8>| File { object, ..good() };
    for (bytes, wanted) in [
        (b"\x80\x02(((".to_vec(), "ends too early"),
        (b"\x80\x02u.".to_vec(), "not there"),
        (b"\x80\x02.".to_vec(), "not there"),
        (b"\x80\x02Nq".to_vec(), "ends too early"),
        (b"\x80\x02h\x07.".to_vec(), "did not remember"),
        (b"\x80\x02q\x07.".to_vec(), "not there"),
        (b"\x80\x02N\x8c.".to_vec(), "not known"),
        (
            b"\x80\x02X\xff\xff\xff\xff".to_vec(),
            "more than 8388608 bytes",
        ),
        (b"\x80\x02NNs.".to_vec(), "not there"),
        (b"\x80\x02NNNs.".to_vec(), "has none"),
        (b"\x80\x02NNa.".to_vec(), "no list"),
        (
            [b"\x80\x02".to_vec(), vec![b'N'; (1 << 20) + 1]].concat(),
            "more than 1048576 things",
        ),
        (
            [b"\x80\x02N".to_vec(), vec![0x85; 1 << 20]].concat(),
            "more than 1048576 things",
        ),
        (b"\x80\x02N.".to_vec(), "no dictionary"),
        (
            [b"c", "x".repeat(9 << 20).as_bytes()].concat(),
            "more than 8388608 bytes",
        ),
    ] {
        let mut file = with_object(bytes);
        // What comes after must not be taken for a part of it.
        if wanted == "ends too early" {
            (file.keys, file.storages) = (Vec::new(), Vec::new());
        }
        let complaint = file.complaint();
        assert!(complaint.contains(wanted), "{wanted}: {complaint}");
    }
}

#[test]
fn other_files_are_told_apart() {
    let complaint = |bytes: &[u8]| match open(bytes) {
        Err(ModelError::Corrupt { detail, .. }) => detail,
        other => panic!("{other:?}"),
    };
    assert!(complaint(b"PK\x03\x04rest").contains("convert it to safetensors"));
    assert!(complaint(b"").contains("ends too early"));
    assert!(complaint(b"\x80\x02M\xe9\x03.").contains("format's number"));
    let newer = File {
        version: b"\x80\x02M\xea\x03.".to_vec(),
        ..good()
    };
    assert!(newer.complaint().contains("another version"));
    let whole = good().bytes();
    for length in 0..whole.len() {
        assert!(open(&whole[..length]).is_err(), "cut to {length} bytes");
    }
    assert!(matches!(
        Pth::open("/nowhere.pth"),
        Err(ModelError::MissingFile { .. })
    ));
    assert!(matches!(
        Pth::open("/"),
        Err(ModelError::WrongFileKind { .. })
    ));
}

#[test]
fn weights_of_another_network_are_refused() {
    let path = scrap(&good().bytes());
    let spec = ModelSpec::efficientnet_lite0(&path);
    assert!(matches!(spec, Err(ModelError::MissingTensor { .. })));
    let weights = EfficientNetWeights::load(&path);
    assert!(
        matches!(weights, Err(ModelError::MissingTensor { tensor }) if tensor == "_conv_stem.weight")
    );
    std::fs::remove_file(path).unwrap();

    // The real file with another shape in one place: of 1000 classes, 999 have a score.
    let mut real = std::fs::read(efficientnet_lite0()).unwrap();
    let place = real
        .windows(10)
        .position(|bytes| bytes == b"_fc.weight")
        .unwrap();
    let shape = (place..)
        .find(|at| real[*at..*at + 3] == [b'M', 0xe8, 3])
        .unwrap();
    real[shape + 1] = 0xe7;
    let path = scrap(&real);
    let weights = EfficientNetWeights::load(&path);
    std::fs::remove_file(path).unwrap();
    match weights {
        Err(ModelError::WrongShape {
            tensor,
            expected,
            found,
        }) => {
            assert_eq!(tensor, "_fc.weight");
            assert_eq!((expected, found), (vec![1000, 1280], vec![999, 1280]));
        }
        other => panic!("{other:?}"),
    }
}
