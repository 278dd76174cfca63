//! What a container may use: the memory controllers of cgroup v1 and v2.
//!
//! A limit may stand on the process's own group or on any group above it, and the smallest counts.
//! Which groups those are is in `/proc/self/cgroup`, and where their files lie in
//! `/proc/self/mountinfo`; in a container both may show no more than its own part of the tree.

use std::path::{Component, Path, PathBuf};

use super::files::{read, under};

/// The two forms of the interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

/// From here on a v1 limit means that there is none: it is the largest multiple of a page.
const V1_UNLIMITED: u64 = 1 << 62;

/// A group's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) limit: u64,
    /// What is in use and cannot be dropped; page cache is not counted.
    pub(super) used: Option<u64>,
}

/// The groups with a limit that this process is in, by whichever version.
pub(super) fn limited_groups(root: &Path) -> Vec<Group> {
    let memberships = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let mounts = read(&root.join("proc/self/mountinfo")).unwrap_or_default();
    let mut groups = Vec::new();
    for version in [Version::V1, Version::V2] {
        let member_of = memberships.lines().find_map(|line| version.member_of(line));
        let mounted: Vec<Mount> = mounts
            .lines()
            .filter_map(|line| version.mount(line))
            .collect();
        let member_of = member_of.unwrap_or("/");
        // One that shows our group, if there are several.
        let ours = mounted.iter().find(|mount| mount.shows_group(member_of));
        let usual = version.usual_mount();
        let mount = ours.or(mounted.first()).unwrap_or(&usual);
        for folder in mount.folders(root, member_of) {
            groups.extend(version.group(&folder));
        }
    }
    groups
}

/// Where a hierarchy, or a part of it, is mounted.
struct Mount {
    /// The group that is seen at the mount point.
    shows: String,
    point: String,
}

impl Mount {
    fn shows_group(&self, member_of: &str) -> bool {
        self.path_to(member_of).is_some()
    }

    /// The way from the mount point to a group, if it can be seen.
    fn path_to<'a>(&self, member_of: &'a str) -> Option<&'a Path> {
        let below = Path::new(member_of).strip_prefix(&self.shows).ok()?;
        // A path that leads out of what is mounted names a group that cannot be seen.
        let mut parts = below.components();
        let inside = parts.all(|part| matches!(part, Component::Normal(_)));
        inside.then_some(below)
    }

    /// The folders of the group `member_of` and of those above it, as far as they can be seen.
    fn folders(&self, root: &Path, member_of: &str) -> Vec<PathBuf> {
        let top = under(root, &self.point);
        let Some(below) = self.path_to(member_of) else {
            return vec![top];
        };
        let depth = below.components().count();
        let lowest = top.join(below);
        let upwards = lowest.ancestors().take(depth + 1);
        upwards.map(Path::to_owned).collect()
    }
}

impl Version {
    /// The group that a line of `/proc/self/cgroup` (`id:controllers:path`) says the process is in.
    fn member_of(self, line: &str) -> Option<&str> {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let ours = match self {
            Self::V1 => controllers.split(',').any(|name| name == "memory"),
            Self::V2 => id == "0" && controllers.is_empty(),
        };
        ours.then_some(path)
    }

    /// The mount that a line of `/proc/self/mountinfo` describes, if it is of this hierarchy.
    fn mount(self, line: &str) -> Option<Mount> {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let kind = after.next()?;
        let options = after.nth(1).unwrap_or_default();
        let ours = match self {
            Self::V1 => kind == "cgroup" && options.split(',').any(|name| name == "memory"),
            Self::V2 => kind == "cgroup2",
        };
        let mut before = before.split(' ').skip(3);
        let (shows, point) = (before.next()?, before.next()?);
        ours.then(|| Mount {
            shows: unescape(shows),
            point: unescape(point),
        })
    }

    /// Where the hierarchy is, unless the list of mounts says otherwise.
    fn usual_mount(self) -> Mount {
        let point = match self {
            Self::V1 => "/sys/fs/cgroup/memory",
            Self::V2 => "/sys/fs/cgroup",
        };
        Mount {
            shows: "/".to_owned(),
            point: point.to_owned(),
        }
    }

    /// A group's memory, if it has a limit. What cannot be read or understood limits nothing.
    fn group(self, folder: &Path) -> Option<Group> {
        let stat = read(&folder.join("memory.stat")).unwrap_or_default();
        let limit = match self {
            Self::V2 => number(folder, "memory.max"),
            Self::V1 => {
                let own = number(folder, "memory.limit_in_bytes");
                // The smallest of all groups above, also of those that cannot be seen.
                let inherited = field(&stat, "hierarchical_memory_limit");
                let limits = own.into_iter().chain(inherited);
                limits.min().filter(|&limit| limit < V1_UNLIMITED)
            }
        }?;
        let (usage, cache) = match self {
            Self::V2 => ("memory.current", ["inactive_file", "active_file"]),
            Self::V1 => (
                "memory.usage_in_bytes",
                ["total_inactive_file", "total_active_file"],
            ),
        };
        let cached: u64 = cache
            .iter()
            .filter_map(|name| field(&stat, name))
            .fold(0, u64::saturating_add);
        let used = number(folder, usage).map(|usage| usage.saturating_sub(cached));
        Some(Group { limit, used })
    }
}

/// The one number that a file holds; `max`, or anything else, is none.
fn number(folder: &Path, name: &str) -> Option<u64> {
    read(&folder.join(name))?.trim().parse().ok()
}

/// The value of a line `name value`.
fn field(stat: &str, name: &str) -> Option<u64> {
    let mut lines = stat.lines().filter_map(|line| line.split_once(' '));
    let (_, value) = lines.find(|(key, _)| *key == name)?;
    value.trim().parse().ok()
}

/// The list of mounts writes blanks and the like as three octal digits after a backslash.
fn unescape(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part
            .split_at_checked(3)
            .and_then(|(digits, rest)| Some((u8::from_str_radix(digits, 8).ok()?, rest)));
        if let Some((code, rest)) = code {
            plain.push(char::from(code));
            plain.push_str(rest);
        } else {
            plain.push('\\');
            plain.push_str(part);
        }
    }
    plain
}
