//! A small symmetric system of equations in, its solution and covariance out.

/// A square matrix; places outside of it read as zero and cannot be written.
#[derive(Clone, Debug)]
pub(super) struct Square {
    size: usize,
    cells: Vec<f64>,
}

impl Square {
    pub(super) fn zero(size: usize) -> Self {
        Self { size, cells: vec![0.0; size.saturating_mul(size)] }
    }

    pub(super) fn at(&self, row: usize, column: usize) -> f64 {
        self.cells.get(row * self.size + column).copied().unwrap_or(0.0)
    }

    pub(super) fn add(&mut self, row: usize, column: usize, value: f64) {
        if let Some(cell) = self.cells.get_mut(row * self.size + column) {
            *cell += value;
        }
    }

    /// The product with a vector.
    pub(super) fn times(&self, vector: &[f64]) -> Vec<f64> {
        let row = |row: &[f64]| row.iter().zip(vector).map(|(a, b)| a * b).sum();
        self.cells.chunks_exact(self.size.max(1)).map(row).collect()
    }

    /// Its inverse, by Gauss and Jordan's elimination. It must be positive definite, as a sum of
    /// squares with a prior on each unknown is: then no rows need to change places.
    pub(super) fn inverse(mut self) -> Self {
        let size = self.size;
        let mut inverse = Self::zero(size);
        for n in 0..size {
            inverse.add(n, n, 1.0);
        }
        for pivot in 0..size {
            let scale = 1.0 / self.at(pivot, pivot).max(f64::MIN_POSITIVE);
            let scaled = |it: &Self| -> Vec<f64> {
                (0..size).map(|column| it.at(pivot, column) * scale).collect()
            };
            let (left, right) = (scaled(&self), scaled(&inverse));
            for row in 0..size {
                let factor = self.at(row, pivot);
                for (matrix, by) in [(&mut self, &left), (&mut inverse, &right)] {
                    let cells = matrix.cells.iter_mut().skip(row * size).take(size);
                    for (cell, by) in cells.zip(by) {
                        *cell = if row == pivot { *by } else { *cell - factor * by };
                    }
                }
            }
        }
        inverse
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_times_its_inverse_is_one() {
        let mut matrix = Square::zero(3);
        let rows = [[4.0, 1.0, -0.5], [1.0, 3.0, 0.25], [-0.5, 0.25, 2.0]];
        for (row, cells) in rows.iter().enumerate() {
            for (column, cell) in cells.iter().enumerate() {
                matrix.add(row, column, *cell);
            }
        }
        let inverse = matrix.clone().inverse();
        for column in 0..3 {
            let unit: Vec<f64> = (0..3).map(|row| inverse.at(row, column)).collect();
            for (row, value) in matrix.times(&unit).into_iter().enumerate() {
                let expected = if row == column { 1.0 } else { 0.0 };
                assert!((value - expected).abs() < 1e-12, "{row} {column}: {value}");
            }
        }
    }
}
