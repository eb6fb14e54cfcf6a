//! A crash whose outcome is chosen, and not drawn: for sweeps over everything that a crash may leave.

use super::{Change, Disk, apply, pieces};
use crate::weather::nth;

/// What a crash leaves, for each change that is not synced, in the order of [`Disk::unsynced`]: a bit for each of its
/// pieces, set if it is there. Of more than 64 pieces every 64th shares a bit.
pub type Image = Vec<u64>;

/// A disk's changes that are not synced.
impl Disk {
    /// Of how many pieces each of them is that a crash keeps or loses as a whole: 1, or, for a write, as many as it
    /// touches of `grain_bytes` bytes. First changes of names, then those of each file, in the order of their issue.
    pub fn unsynced(&self, grain_bytes: u64) -> Vec<u64> {
        let names = self.unsynced_names.iter().map(|_| 1);
        let changes = self.inodes.values().flat_map(|inode| &inode.unsynced);
        names.chain(changes.map(|(_, change)| count_pieces(change, grain_bytes))).collect()
    }

    /// The machine loses power, and `image` tells what is left. What it says nothing about is lost.
    pub fn crash_to(&mut self, image: &[u64], grain_bytes: u64) {
        let mut left = image.iter().copied();
        for (_, _, entry) in std::mem::take(&mut self.unsynced_names) {
            if left.next().unwrap_or(0) & 1 == 1 {
                self.enter(entry);
            }
        }
        for inode in self.inodes.values_mut() {
            for (_, change) in std::mem::take(&mut inode.unsynced) {
                let mask = left.next().unwrap_or(0);
                let all = all_of(count_pieces(&change, grain_bytes));
                match change {
                    change if mask & all == all => apply(&mut inode.durable, change),
                    Change::Write(offset, bytes) => {
                        let kept =
                            pieces(offset, &bytes, grain_bytes).zip(0..).filter(|(_, n)| mask >> (n % 64) & 1 == 1);
                        kept.for_each(|((at, piece), _)| inode.durable.write(at, piece));
                    }
                    Change::Grow(_) => {}
                }
            }
            inode.live = inode.durable.clone();
        }
        self.names = self.durable_names.clone();
        self.forget_unreachable();
    }
}

fn count_pieces(change: &Change, grain_bytes: u64) -> u64 {
    match change {
        Change::Grow(_) => 1,
        Change::Write(offset, bytes) => (pieces(*offset, bytes, grain_bytes).count() as u64).max(1),
    }
}

/// The bits of so many pieces.
fn all_of(pieces: u64) -> u64 {
    if pieces >= 64 { u64::MAX } else { (1 << pieces) - 1 }
}

/// The outcomes of a crash with these changes, as [`Disk::unsynced`] counts them: all of them if there are at most
/// `images_max`, else those that are most likely to matter and some that are drawn; and how many there are in all.
pub fn images(unsynced: &[u64], images_max: usize, draw: u64) -> (Vec<Image>, u128) {
    let outcomes = |pieces: &u64| 1_u128.checked_shl(u32::try_from(*pieces).unwrap_or(u32::MAX)).unwrap_or(u128::MAX);
    let total = unsynced.iter().map(outcomes).fold(1_u128, u128::saturating_mul);
    if usize::try_from(total).is_ok_and(|total| total <= images_max) {
        return (every_image(unsynced), total);
    }
    let all: Image = unsynced.iter().map(|pieces| all_of(*pieces)).collect();
    let none: Image = vec![0; unsynced.len()];
    let mut images = vec![none.clone(), all.clone()];
    let with = |base: &Image, place: usize, mask: u64| {
        let mut image = base.clone();
        image[place] = mask & all[place];
        image
    };
    // Each write torn in its middle; then a disk that writes in order, cut at each change and in the middle of it; then
    // each change alone, and all but it.
    let places = || (0..unsynced.len()).rev();
    let half = |place: usize| all_of(unsynced[place].min(64) / 2);
    for place in places().filter(|place| unsynced[*place] > 1) {
        images.extend([with(&all, place, half(place)), with(&all, place, !half(place))]);
    }
    for place in places() {
        let before: Image = (0..unsynced.len()).map(|other| if other < place { all[other] } else { 0 }).collect();
        images.extend([with(&before, place, half(place)), before]);
    }
    for place in places() {
        images.extend([with(&none, place, all[place]), with(&all, place, 0)]);
        images.extend([with(&all, place, 1), with(&all, place, !1)]);
    }
    let drawn = |n: u64| (0..).zip(&all).map(|(place, all)| nth(nth(draw, n), place) & all).collect::<Image>();
    images.extend((0..images_max as u64).map(drawn));
    let mut seen = std::collections::BTreeSet::new();
    images.retain(|image| seen.insert(image.clone()));
    images.truncate(images_max);
    (images, total)
}

/// Counts through all masks, the first change fastest.
fn every_image(unsynced: &[u64]) -> Vec<Image> {
    let mut images = vec![Image::new()];
    for pieces in unsynced.iter().rev() {
        let longer = |image: Image| {
            (0..=all_of(*pieces)).map(move |mask| {
                let mut image = image.clone();
                image.insert(0, mask);
                image
            })
        };
        images = images.into_iter().flat_map(longer).collect();
    }
    images
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use bytes::Bytes;
    use detcd_core::DiskAction;

    use super::*;

    /// A disk with a durable file of two sectors of `a` over which two sectors of `b` were written, and a new file.
    fn disk() -> Disk {
        let mut disk = Disk::default();
        let act = |disk: &mut Disk, action| {
            let done = disk.issue(action, true);
            done.reply.expect("there is room");
            if let Some(durable) = done.durable {
                disk.complete(&durable);
            }
        };
        let write = |byte| Bytes::from(vec![byte; 1_024]);
        act(&mut disk, DiskAction::Allocate { file: "d/old".into(), size_bytes: 1_024 });
        act(&mut disk, DiskAction::Append { file: "d/old".into(), offset: 0, bytes: write(b'a') });
        act(&mut disk, DiskAction::Sync { file: "d/old".into() });
        act(&mut disk, DiskAction::SyncDir { dir: "d".into() });
        act(&mut disk, DiskAction::Append { file: "d/old".into(), offset: 0, bytes: write(b'b') });
        act(&mut disk, DiskAction::Allocate { file: "d/new".into(), size_bytes: 7 });
        disk
    }

    /// What is left: the files' sizes, and the first byte of each sector of the old one.
    fn left(image: &[u64]) -> (Vec<(String, u64)>, Vec<u8>) {
        let mut disk = disk();
        disk.crash_to(image, 512);
        let read = |offset| disk.inode(&"d/old".into()).expect("it is durable").1.live.read(offset, 1)[0];
        (disk.listing().files, vec![read(0), read(512)])
    }

    #[test]
    fn an_image_tells_what_is_left_piece_by_piece() {
        assert_eq!(disk().unsynced(512), [1, 2, 1], "a name, a write of two sectors, a size");
        assert_eq!(disk().unsynced(4_096), [1, 1, 1]);
        let old = ("d/old".to_string(), 1_024);
        assert_eq!(left(&[0, 0, 0]), (vec![old.clone()], vec![b'a', b'a']));
        assert_eq!(left(&[0, 1, 1]), (vec![old.clone()], vec![b'b', b'a']));
        assert_eq!(left(&[1, 2, 0]), (vec![("d/new".to_string(), 0), old.clone()], vec![b'a', b'b']));
        assert_eq!(left(&[1, 3, 1]), (vec![("d/new".to_string(), 7), old], vec![b'b', b'b']));
    }

    #[test]
    fn few_outcomes_are_all_tried() {
        let (images, total) = images(&[1, 2, 1], 16, 7);
        assert_eq!((images.len(), total), (16, 16));
        assert_eq!(images.iter().collect::<BTreeSet<_>>().len(), 16);
        assert_eq!(super::images(&[], 4, 7), (vec![Image::new()], 1));
    }

    #[test]
    fn many_outcomes_are_cut_to_different_ones_with_the_extremes_among_them() {
        let (images, total) = images(&[1, 70, 3, 1], 40, 7);
        assert_eq!(images.len(), 40);
        assert_eq!(total, 1 << 75);
        assert_eq!(images.iter().collect::<BTreeSet<_>>().len(), 40);
        assert!(images.contains(&vec![0, 0, 0, 0]) && images.contains(&vec![1, u64::MAX, 7, 1]));
        assert!(images.contains(&vec![1, u64::MAX, 0, 0]), "a prefix");
    }
}
