//! What a container may use, from the files in which Linux tells of it.

use std::path::{Path, PathBuf};

use modelpool::pool::core::{MIB, MemoryProbe, SystemFiles, SystemProbe, query_system_memory_mb};

/// A tree of files that goes away with the test.
struct Tree(PathBuf);

impl Tree {
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let folder = format!("containers-{}-{name}", std::process::id());
        let tree = Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(folder));
        for (path, text) in files {
            let path = tree.0.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        tree
    }

    fn files(&self) -> SystemFiles {
        SystemFiles::at(&self.0)
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const V2_MOUNT: &str = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
const V1_MOUNT: &str =
    "36 24 0:31 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory\n";
const OTHER_MOUNTS: &str = "23 1 8:1 / / rw - ext4 /dev/root rw\n\
    31 24 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n";

struct Case {
    name: &'static str,
    files: Vec<(&'static str, String)>,
    /// Limit and what is available, in bytes.
    expected: (Option<u64>, Option<u64>),
}

fn case(
    name: &'static str,
    files: &[(&'static str, &str)],
    expected: (Option<u64>, Option<u64>),
) -> Case {
    let files = files.iter().map(|(path, text)| (*path, (*text).to_owned()));
    Case {
        name,
        files: files.collect(),
        expected,
    }
}

fn cases() -> Vec<Case> {
    let hybrid = format!(
        "{OTHER_MOUNTS}{V1_MOUNT}32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
    );
    let docker_v1 = V1_MOUNT.replace(" / /sys", " /docker/abc /sys");
    vec![
        case("nothing", &[], (None, None)),
        case(
            "v2",
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/memory.max", "1000\n"),
                ("sys/fs/cgroup/memory.current", "700\n"),
                (
                    "sys/fs/cgroup/memory.stat",
                    "anon 300\nfile 400\ninactive_file 250\nactive_file 100\nshmem 50\n",
                ),
            ],
            (Some(1000), Some(650)),
        ),
        case(
            "v2-max",
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/memory.max", "max\n"),
                ("sys/fs/cgroup/memory.current", "700\n"),
            ],
            (None, None),
        ),
        case(
            "v2-nested",
            &[
                ("proc/self/cgroup", "0::/a.slice/b.slice/c.service\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/a.slice/memory.max", "5000\n"),
                ("sys/fs/cgroup/a.slice/memory.current", "4900\n"),
                ("sys/fs/cgroup/a.slice/b.slice/memory.max", "max\n"),
                (
                    "sys/fs/cgroup/a.slice/b.slice/c.service/memory.max",
                    "3000\n",
                ),
                (
                    "sys/fs/cgroup/a.slice/b.slice/c.service/memory.current",
                    "500\n",
                ),
                ("sys/fs/cgroup/d.slice/memory.max", "1\n"),
            ],
            // The nearest limit is the smaller one; the one above is the nearly used up one.
            (Some(3000), Some(100)),
        ),
        case(
            "v2-above",
            &[
                ("proc/self/cgroup", "0::/a/b\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/a/memory.max", "1000\n"),
                ("sys/fs/cgroup/a/b/memory.max", "9000\n"),
            ],
            (Some(1000), None),
        ),
        case(
            "v2-out-of-sight",
            &[
                ("proc/self/cgroup", "0::/../../host/x\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/memory.max", "1234\n"),
                ("host/x/memory.max", "1\n"),
            ],
            (Some(1234), None),
        ),
        case(
            "v2-elsewhere",
            &[
                ("proc/self/cgroup", "0::/a\n"),
                (
                    "proc/self/mountinfo",
                    "30 23 0:26 /other /first rw - cgroup2 x rw\n\
                     31 23 0:26 / /mnt/c\\040g rw - cgroup2 x rw\n",
                ),
                ("first/memory.max", "1\n"),
                ("mnt/c g/a/memory.max", "4321\n"),
            ],
            (Some(4321), None),
        ),
        case(
            "v2-no-mountinfo",
            &[
                ("proc/self/cgroup", "0::/a\n"),
                ("sys/fs/cgroup/a/memory.max", "77\n"),
            ],
            (Some(77), None),
        ),
        case(
            "v2-no-controller",
            &[
                ("proc/self/cgroup", "0::/a\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                ("sys/fs/cgroup/a/cgroup.controllers", "cpu pids\n"),
            ],
            (None, None),
        ),
        case(
            "v1",
            &[
                ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/svc\n"),
                ("proc/self/mountinfo", &format!("{OTHER_MOUNTS}{V1_MOUNT}")),
                ("sys/fs/cgroup/memory/svc/memory.limit_in_bytes", "4096\n"),
                ("sys/fs/cgroup/memory/svc/memory.usage_in_bytes", "4000\n"),
                (
                    "sys/fs/cgroup/memory/svc/memory.stat",
                    "cache 9\ninactive_file 1\ntotal_inactive_file 1000\ntotal_active_file 500\n",
                ),
                (
                    "sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
            ],
            (Some(4096), Some(1596)),
        ),
        case(
            "v1-unlimited",
            &[
                ("proc/self/cgroup", "4:memory:/\n"),
                ("proc/self/mountinfo", V1_MOUNT),
                (
                    "sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n"),
            ],
            (None, None),
        ),
        case(
            "v1-inherited",
            &[
                ("proc/self/cgroup", "4:memory:/docker/abc\n"),
                ("proc/self/mountinfo", &docker_v1),
                (
                    "sys/fs/cgroup/memory/memory.limit_in_bytes",
                    "9223372036854771712\n",
                ),
                (
                    "sys/fs/cgroup/memory/memory.stat",
                    "hierarchical_memory_limit 2048\n",
                ),
                ("sys/fs/cgroup/memory/memory.usage_in_bytes", "48\n"),
            ],
            (Some(2048), Some(2000)),
        ),
        case(
            "hybrid",
            &[
                ("proc/self/cgroup", "4:memory:/svc\n0::/svc\n"),
                ("proc/self/mountinfo", &hybrid),
                ("sys/fs/cgroup/memory/svc/memory.limit_in_bytes", "8192\n"),
                ("sys/fs/cgroup/unified/svc/cgroup.procs", "1\n"),
            ],
            (Some(8192), None),
        ),
        case(
            "garbage",
            &[
                ("proc/self/cgroup", "what\n0::\n:::::\n"),
                (
                    "proc/self/mountinfo",
                    "- cgroup2\n - \n1 2 3 - cgroup2 a b\n\u{0}",
                ),
                ("sys/fs/cgroup/memory.max", "-5 MB\n"),
                ("sys/fs/cgroup/memory.current", "\n"),
                (
                    "sys/fs/cgroup/memory.stat",
                    "inactive_file\nactive_file x\n",
                ),
            ],
            (None, None),
        ),
        case(
            "huge",
            &[
                ("proc/self/cgroup", "0::/a\n"),
                ("proc/self/mountinfo", V2_MOUNT),
                // More than 64 bits hold is no limit; what just fits is one.
                ("sys/fs/cgroup/memory.max", "99999999999999999999999999\n"),
                ("sys/fs/cgroup/a/memory.max", "18446744073709551615\n"),
                ("sys/fs/cgroup/a/memory.current", "18446744073709551615\n"),
                (
                    "sys/fs/cgroup/a/memory.stat",
                    "inactive_file 18446744073709551615\nactive_file 18446744073709551615\n",
                ),
            ],
            (Some(u64::MAX), Some(u64::MAX)),
        ),
        case(
            "exceeded",
            &[
                ("proc/self/cgroup", "0::/\n"),
                ("sys/fs/cgroup/memory.max", "100\n"),
                ("sys/fs/cgroup/memory.current", "150\n"),
            ],
            (Some(100), Some(0)),
        ),
    ]
}

#[test]
fn limits_of_all_kinds_of_containers() {
    for Case {
        name,
        files,
        expected,
    } in cases()
    {
        let files: Vec<(&str, &str)> = files.iter().map(|(a, b)| (*a, b.as_str())).collect();
        let tree = Tree::new(name, &files);
        let found = (
            tree.files().container_limit(),
            tree.files().container_available(),
        );
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_probe_takes_the_smaller_of_machine_and_container() {
    let small = Tree::new(
        "probe",
        &[
            ("proc/self/cgroup", "0::/\n"),
            ("proc/self/mountinfo", V2_MOUNT),
            ("sys/fs/cgroup/memory.max", "104857600\n"),
            ("sys/fs/cgroup/memory.current", "41943040\n"),
            ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   2048 kB\n"),
            ("proc/self/status", "Name:\tx\nVmRSS:\t    512 kB\n"),
        ],
    );
    let probe = SystemProbe::with_files(small.files());
    assert_eq!(probe.total_mb(), 100);
    assert_eq!(probe.available_bytes(), Some(2 * MIB), "the machine's");
    assert_eq!(probe.resident_bytes(), Some(MIB / 2));

    std::fs::write(small.0.join("proc/meminfo"), "MemAvailable: 99999999 kB\n").unwrap();
    assert_eq!(probe.available_bytes(), Some(60 * MIB), "the container's");

    let none = Tree::new("probe-none", &[("proc/meminfo", "MemAvailable: lots\n")]);
    let probe = SystemProbe::with_files(none.files());
    assert!(probe.total_mb() >= query_system_memory_mb());
    assert_eq!(probe.available_bytes(), None);
    assert_eq!(probe.resident_bytes(), None);
}

/// Linux tells of itself; elsewhere the system's own interface is asked for the resident set.
#[test]
fn this_machine_is_known() {
    let probe = SystemProbe::default();
    assert_eq!(probe.total_mb(), query_system_memory_mb());
    let resident = probe
        .resident_bytes()
        .expect("a running process is in memory");
    assert!(resident > MIB && resident < probe.total_mb() * MIB);
    if cfg!(target_os = "linux") {
        let available = probe.available_bytes().expect("/proc/meminfo says it");
        assert!(available > 0 && available <= probe.total_mb() * MIB);
    }
}
