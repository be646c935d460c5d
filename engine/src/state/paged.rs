//! A vector that grows page by page: what is there does not move, and at most a page is unused.
//!
//! A plain vector doubles, which at hundreds of megabytes stops a tick for the copy and leaves half of it unused. Small ones
//! are as small as a plain vector: the first page grows as one does.

/// Values by number, numbers ascending from zero.
#[derive(Debug)]
pub struct Paged<T> {
    pages: Vec<Vec<T>>,
    /// Values in a group.
    together: usize,
    /// Binary logarithm of the groups in a page.
    shift: u32,
}

/// Bytes of a page, about.
const PAGE_BYTES: usize = 64 << 10;

impl<T: Copy> Paged<T> {
    /// Nothing yet; pages are made for groups of `together` values, which stay side by side in one page.
    pub fn of_groups(together: usize) -> Self {
        let groups = (PAGE_BYTES / (size_of::<T>() * together).max(1)).max(1);
        Self { pages: Vec::new(), together, shift: groups.ilog2() }
    }

    /// Groups in a page.
    fn groups(&self) -> usize {
        1 << self.shift
    }

    /// The page of a group, and the place of its first value there.
    fn place(&self, group: u32) -> (usize, usize) {
        let group = group as usize;
        (group >> self.shift, (group & (self.groups() - 1)) * self.together)
    }

    /// The values of a group; `None` behind the end.
    pub fn get(&self, group: u32) -> Option<&[T]> {
        let (page, start) = self.place(group);
        self.pages.get(page)?.get(start..start + self.together)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, group: u32) -> Option<&mut [T]> {
        let (page, start) = self.place(group);
        self.pages.get_mut(page)?.get_mut(start..start + self.together)
    }

    /// Makes room for all groups up to `group`, filling up with `value`.
    pub fn grow(&mut self, group: u32, value: T) {
        let (last, start) = self.place(group);
        let full = self.groups() * self.together;
        while self.pages.len() <= last {
            if let Some(page) = self.pages.last_mut() {
                page.resize(full, value);
            }
            // The first page may be all there ever is.
            self.pages.push(if self.pages.is_empty() { Vec::new() } else { Vec::with_capacity(full) });
        }
        let page = &mut self.pages[last];
        if page.len() < start + self.together {
            page.resize(start + self.together, value);
        }
    }

    /// Bytes allocated.
    pub fn bytes(&self) -> usize {
        self.pages.iter().map(|page| page.capacity() * size_of::<T>()).sum::<usize>()
            + self.pages.capacity() * size_of::<Vec<T>>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_where_they_were_put_and_take_up_little_more_than_themselves() {
        for together in [1, 3, 7, 1000, 100_000] {
            let mut paged = Paged::<u64>::of_groups(together);
            let groups = 300_000 / together as u32 + 5;
            for group in (0..groups).step_by(3) {
                paged.grow(group, 0);
                paged.get_mut(group).expect("grown").fill(u64::from(group) + 1);
            }
            for group in 0..groups {
                let value = if group % 3 == 0 { u64::from(group) + 1 } else { 0 };
                let found = paged.get(group);
                assert!(found.is_none_or(|found| found.iter().all(|v| *v == value)), "{together} {group}");
                assert!(found.is_some() || group > (groups - 1) / 3 * 3, "{together} {group}");
            }
            let values = groups as usize * together * size_of::<u64>();
            let slack = (2 * PAGE_BYTES).max(together * size_of::<u64>());
            assert!(paged.bytes() <= values + slack + values / 100, "{together}: {} of {values}", paged.bytes());
        }
    }
}
