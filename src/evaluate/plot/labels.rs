//! Where words stand on a plan: near where they are wanted, and over nothing that must be read.

/// How wide a letter is at most on average, in parts of the font's size.
const LETTER: f32 = 0.6;

/// How far words are moved at a time, in units of the picture.
const STEP: (f32, f32) = (10.0, 5.0);

/// How often they are moved at most, to each side.
const STEPS: i8 = 24;

/// Something on the picture, by its corners.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Area {
    left: f32,
    top: f32,
    right: f32,
    bottom: f32,
}

/// What stands on a picture already.
#[derive(Debug)]
pub(crate) struct Labels {
    /// The part of it on which words may stand.
    floor: Area,
    taken: Vec<Area>,
}

/// Lines of words, one below the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Words<'a> {
    /// The lines.
    pub(crate) lines: &'a [&'a str],
    /// The font's size, in units of the picture.
    pub(crate) size: f32,
    /// How far one line is below the other.
    pub(crate) leading: f32,
}

impl Words<'_> {
    /// How wide they are, at most.
    pub(crate) fn width(&self) -> f32 {
        let letters = self.lines.iter().map(|line| line.chars().count()).max();
        f32::from(u16::try_from(letters.unwrap_or_default()).unwrap_or(u16::MAX))
            * self.size
            * LETTER
    }

    fn height(&self) -> f32 {
        let lines = u16::try_from(self.lines.len()).unwrap_or(u16::MAX);
        self.size + self.leading * f32::from(lines.saturating_sub(1))
    }

    /// What they cover when the first one's base line begins there.
    fn from(&self, left: f32, base: f32) -> Area {
        let top = base - self.size;
        Area { left, top, right: left + self.width(), bottom: top + self.height() + 3.0 }
    }
}

impl Area {
    fn meets(&self, other: &Self) -> bool {
        self.left < other.right
            && other.left < self.right
            && self.top < other.bottom
            && other.top < self.bottom
    }

    fn corners(&self) -> [(f32, f32); 4] {
        let Self { left, top, right, bottom } = *self;
        [(left, top), (right, top), (left, bottom), (right, bottom)]
    }

    fn middle(&self) -> (f32, f32) {
        (f32::midpoint(self.left, self.right), f32::midpoint(self.top, self.bottom))
    }
}

impl Labels {
    /// Nothing stands yet on a floor with these corners.
    pub(crate) fn new((left, top): (f32, f32), (right, bottom): (f32, f32)) -> Self {
        Self { floor: Area { left, top, right, bottom }, taken: Vec::new() }
    }

    /// A mark stands there, so large to each side.
    pub(crate) fn mark(&mut self, (x, y): (f32, f32), reach: f32) {
        self.taken.push(Area {
            left: x - reach,
            top: y - reach,
            right: x + reach,
            bottom: y + reach,
        });
    }

    /// Words stand there, to the right of `x` or to the left of it.
    pub(crate) fn words(&mut self, words: Words<'_>, (x, base): (f32, f32), to_the_left: bool) {
        let left = if to_the_left { x - words.width() } else { x };
        self.taken.push(words.from(left, base));
    }

    /// Finds the place nearest to `wish` where words have room around it, and takes it: the middle of
    /// the first base line. If they can, they stand `inside` with all their corners; else with their
    /// middle; else anywhere. Where there is no room at all they stand where they are wanted.
    pub(crate) fn place(
        &mut self,
        words: Words<'_>,
        (x, y): (f32, f32),
        inside: impl Fn((f32, f32)) -> bool,
    ) -> (f32, f32) {
        let base = y - words.height() / 2.0 + words.size;
        let around = |(x, base): (f32, f32)| words.from(x - words.width() / 2.0, base);
        let wholly = |area: &Area| area.corners().into_iter().all(&inside);
        let mostly = |area: &Area| inside(area.middle());
        let mut best: Option<((u8, f32), (f32, f32))> = None;
        for across in -STEPS..=STEPS {
            for down in -STEPS..=STEPS {
                let (dx, dy) = (f32::from(across) * STEP.0, f32::from(down) * STEP.1);
                let area = around((x + dx, base + dy));
                if !self.is_free(&area) {
                    continue;
                }
                let outside = if wholly(&area) { 0 } else { 2 - u8::from(mostly(&area)) };
                let cost = (outside, dx.hypot(dy));
                if best.is_none_or(|(least, _)| cost < least) {
                    best = Some((cost, (x + dx, base + dy)));
                }
            }
        }
        let place = best.map_or((x, base), |(_, place)| place);
        self.taken.push(around(place));
        place
    }

    fn is_free(&self, area: &Area) -> bool {
        let Area { left, top, right, bottom } = self.floor;
        let on_floor =
            area.left > left && area.top > top && area.right < right && area.bottom < bottom;
        on_floor && !self.taken.iter().any(|other| other.meets(area))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: Words<'_> =
        Words { lines: &["north_east", "right 100 %"], size: 13.0, leading: 14.0 };

    fn empty() -> Labels {
        Labels::new((0.0, 0.0), (600.0, 400.0))
    }

    #[test]
    fn words_stand_where_they_are_wanted_when_nothing_is_there() {
        let (x, base) = empty().place(WORDS, (300.0, 200.0), |_| true);
        assert!((x - 300.0).abs() < 0.1 && (base - 199.5).abs() < 0.1, "{x} {base}");
    }

    #[test]
    fn words_cover_neither_marks_nor_other_words() {
        let mut labels = empty();
        for n in 0..6_u8 {
            let at = (240.0 + 30.0 * f32::from(n), 195.0);
            labels.mark(at, 6.0);
            labels.words(Words { lines: &["till-1 +0.3 dB"], ..WORDS }, at, n % 2 == 0);
        }
        for _ in 0..4 {
            labels.place(WORDS, (300.0, 200.0), |_| true);
            let (new, old) = labels.taken.split_last().unwrap();
            assert!(!old.iter().any(|other| other.meets(new)));
        }
    }

    #[test]
    fn words_stay_inside_as_far_as_they_can_and_always_on_the_floor() {
        let wide = WORDS.width();
        let (x, _) = empty().place(WORDS, (300.0, 200.0), |(x, _)| x > 320.0);
        assert!(x - wide / 2.0 > 320.0, "wholly");
        let narrow = |(x, _): (f32, f32)| (500.0..520.0).contains(&x);
        let (x, _) = empty().place(WORDS, (510.0, 200.0), narrow);
        assert!(narrow((x, 0.0)), "with their middle");
        let (x, _) = empty().place(WORDS, (590.0, 200.0), |_| false);
        assert!(x + wide / 2.0 < 600.0, "on the floor");
        let mut full = empty();
        full.mark((300.0, 200.0), 400.0);
        let (x, _) = full.place(WORDS, (590.0, 200.0), |_| true);
        assert!((x - 590.0).abs() < 0.1, "where they are wanted");
    }
}
