//! A map from spans of keys that finds those which contain a key: an AVL tree over (start, end) in which every node
//! knows how far its subtree reaches.

use super::span::{Span, SpanEnd};

/// A map from spans to values.
#[derive(Debug)]
pub(super) struct SpanMap<T> {
    root: Link<T>,
}

type Link<T> = Option<Box<Node<T>>>;

#[derive(Debug)]
struct Node<T> {
    span: Span,
    value: T,
    /// The furthest end in this subtree.
    reach: SpanEnd,
    height: u8,
    left: Link<T>,
    right: Link<T>,
}

impl<T> Default for SpanMap<T> {
    fn default() -> SpanMap<T> {
        SpanMap { root: None }
    }
}

impl<T: Default> SpanMap<T> {
    /// The value of a span, which is put in if it is not there yet. O(log n).
    pub fn get_or_insert(&mut self, span: Span) -> &mut T {
        if self.get_mut(&span).is_none() {
            let root = self.root.take();
            self.root = Some(insert(root, span.clone(), T::default()));
        }
        self.get_mut(&span).expect("it was just put in")
    }
}

impl<T> SpanMap<T> {
    /// The value of a span. O(log n).
    pub fn get_mut(&mut self, span: &Span) -> Option<&mut T> {
        let mut link = &mut self.root;
        while let Some(node) = link {
            match span.cmp(&node.span) {
                std::cmp::Ordering::Less => link = &mut node.left,
                std::cmp::Ordering::Greater => link = &mut node.right,
                std::cmp::Ordering::Equal => return Some(&mut node.value),
            }
        }
        None
    }

    /// Takes a span out, if it is there. O(log n).
    pub fn remove(&mut self, span: &Span) {
        let root = self.root.take();
        self.root = remove(root, span);
    }

    /// Calls `visit` with the value of each span that contains `key`, in order of (start, end). O(m log n) for m of
    /// them.
    pub fn containing(&self, key: &[u8], visit: &mut impl FnMut(&T)) {
        containing(&self.root, key, visit);
    }

    /// Whether there is no span.
    #[cfg(test)]
    pub fn is_empty(&self) -> bool {
        self.root.is_none()
    }
}

impl<T> Node<T> {
    /// Brings height and reach up to date with the children.
    fn update(&mut self) {
        self.height = 1 + height(&self.left).max(height(&self.right));
        let mut reach = &self.span.end;
        for child in [&self.left, &self.right].into_iter().flatten() {
            reach = reach.max(&child.reach);
        }
        self.reach = reach.clone();
    }
}

fn height<T>(link: &Link<T>) -> u8 {
    link.as_ref().map_or(0, |node| node.height)
}

fn rotate_right<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let mut top = node.left.take().expect("a node that leans left has a left child");
    node.left = top.right.take();
    node.update();
    top.right = Some(node);
    top.update();
    top
}

fn rotate_left<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let mut top = node.right.take().expect("a node that leans right has a right child");
    node.right = top.left.take();
    node.update();
    top.left = Some(node);
    top.update();
    top
}

/// Updates a node one of whose subtrees changed its height by at most one, and restores the balance.
fn balanced<T>(mut node: Box<Node<T>>) -> Box<Node<T>> {
    let (left, right) = (height(&node.left), height(&node.right));
    if left > right + 1 {
        let child = node.left.take().expect("it is the higher one");
        let leans_right = height(&child.right) > height(&child.left);
        node.left = Some(if leans_right { rotate_left(child) } else { child });
        rotate_right(node)
    } else if right > left + 1 {
        let child = node.right.take().expect("it is the higher one");
        let leans_left = height(&child.left) > height(&child.right);
        node.right = Some(if leans_left { rotate_right(child) } else { child });
        rotate_left(node)
    } else {
        node.update();
        node
    }
}

fn insert<T>(link: Link<T>, span: Span, value: T) -> Box<Node<T>> {
    let Some(mut node) = link else {
        let reach = span.end.clone();
        return Box::new(Node { span, value, reach, height: 1, left: None, right: None });
    };
    assert!(span != node.span, "a span is put in once");
    if span < node.span {
        node.left = Some(insert(node.left.take(), span, value));
    } else {
        node.right = Some(insert(node.right.take(), span, value));
    }
    balanced(node)
}

fn remove<T>(link: Link<T>, span: &Span) -> Link<T> {
    let mut node = link?;
    match span.cmp(&node.span) {
        std::cmp::Ordering::Less => node.left = remove(node.left.take(), span),
        std::cmp::Ordering::Greater => node.right = remove(node.right.take(), span),
        std::cmp::Ordering::Equal => {
            let Some(right) = node.right.take() else {
                return node.left.take();
            };
            let (mut next, rest) = take_first(right);
            next.left = node.left.take();
            next.right = rest;
            return Some(balanced(next));
        }
    }
    Some(balanced(node))
}

/// Splits a subtree into its first node and the rest.
fn take_first<T>(mut node: Box<Node<T>>) -> (Box<Node<T>>, Link<T>) {
    match node.left.take() {
        None => {
            let rest = node.right.take();
            (node, rest)
        }
        Some(left) => {
            let (first, rest) = take_first(left);
            node.left = rest;
            (first, Some(balanced(node)))
        }
    }
}

fn containing<T>(link: &Link<T>, key: &[u8], visit: &mut impl FnMut(&T)) {
    let Some(node) = link else { return };
    if !node.reach.is_behind(key) {
        return;
    }
    containing(&node.left, key, visit);
    if node.span.start.as_ref() <= key {
        if node.span.end.is_behind(key) {
            visit(&node.value);
        }
        containing(&node.right, key, visit);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn check<T>(link: &Link<T>) -> u8 {
        let Some(node) = link else { return 0 };
        let (left, right) = (check(&node.left), check(&node.right));
        assert!(left.abs_diff(right) <= 1, "balanced");
        assert_eq!(node.height, 1 + left.max(right));
        node.height
    }

    fn span() -> impl Strategy<Value = Span> {
        (0..12u8, 0..14u8).prop_map(|(start, length)| {
            let end =
                if length == 13 { SpanEnd::Unbounded } else { SpanEnd::Before(Bytes::from(vec![start + 1 + length])) };
            Span { start: Bytes::from(vec![start]), end }
        })
    }

    proptest! {
        #[test]
        fn it_finds_what_a_search_through_all_finds(ops in prop::collection::vec((any::<bool>(), span()), 0..200)) {
            let mut map = SpanMap::default();
            let mut model = BTreeMap::new();
            for (number, (put, span)) in ops.into_iter().enumerate() {
                if put && !model.contains_key(&span) {
                    model.insert(span.clone(), number);
                    *map.get_or_insert(span.clone()) = number;
                } else if !put {
                    model.remove(&span);
                    map.remove(&span);
                }
                check(&map.root);
                prop_assert_eq!(map.get_mut(&span).copied(), model.get(&span).copied());
                for key in 0..28u8 {
                    let mut found = Vec::new();
                    map.containing(&[key], &mut |number| found.push(*number));
                    let expected: Vec<_> = model
                        .iter()
                        .filter(|(span, _)| span.start.as_ref() <= &[key][..] && span.end.is_behind(&[key]))
                        .map(|(_, number)| *number)
                        .collect();
                    prop_assert_eq!(found, expected);
                }
            }
            for span in model.keys() {
                map.remove(span);
            }
            prop_assert!(map.is_empty());
        }
    }
}
