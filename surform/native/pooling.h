// Add an encoding to a field, normalise its channels, and average the result over axes.
#pragma once

#include "marching_backward.h"

struct Pooling {
  long batch, first, rest, channels, rank;  // rank: axes but the first
  long axes[8];
  const float *scale, *shift;
  // What is added to the field, one of the two or nothing: a tensor (x, rest, c), or features
  // (x, rest, k) under a linear map, (k, c), (c)
  const float *added, *features, *map, *bias;
  long inner;  // k
  int threads;
  long lengths() const {
    long sum = 0;
    for (long axis = 0; axis < rank; axis++) sum += axes[axis];
    return sum;
  }
};

static const long SPAN = 32;  // points that are moved, then normalised

// Position along each axis but the first of point r of the rest, counted through all axes.
INLINE void places(const Pooling& m, long r, long* place) {
  long before = m.lengths();
  for (long axis = m.rank - 1; axis >= 0; axis--) {
    before -= m.axes[axis];
    place[axis] = before + r % m.axes[axis];
    r /= m.axes[axis];
  }
}

// moved (rows, c) = u + what is added, from point `at` of the grid on
INLINE void move(const Pooling& m, long at, long rows, const float* u, float* moved) {
  const long c = m.channels;
  if (m.features)
    product(Size{rows, c, m.inner, 1}, Left{m.features + at * m.inner, m.inner, 1, 0},
            rows_of(m.map, c), rows_of(moved, c), Start{rows_of(u, c), nullptr, m.bias});
  else
    for (long j = 0; j < rows * c; j += LANES)
      store(moved + j, load(u + j) + load(m.added + at * c + j));
}

// moved = u + what is added, normal = its norm, both (b, x, rest, c); moved may be u;
// mean (b, x, c) over rest; sums per thread (b, all other axes' points, c) over what is not theirs.
static void norm_and_pool(const Pooling& m, const float* u, float* moved, float* normal,
                          float* mean, float* sums) {
  const long c = m.channels, many = m.lengths();
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.batch * m.first; item++) {
    const long b = item / m.first, x = item % m.first;
    float* own = sums + (omp_get_thread_num() * m.batch + b) * many * c;
    float* average = mean + item * c;
    for (long j = 0; j < c; j += LANES) store(average + j, vec{});
    for (long r = 0; r < m.rest; r++) {
      const long at = (item * m.rest + r) * c;
      if (moved != u && r % SPAN == 0)
        move(m, x * m.rest + r, r + SPAN < m.rest ? SPAN : m.rest - r, u + at, moved + at);
      const float* row = moved + at;
      norm_row(row, row_moments(row, c, NORM_EPS), m.scale, m.shift, normal + at, c);
      long place[8];
      places(m, r, place);
      for (long j = 0; j < c; j += LANES) {
        const vec value = load(normal + at + j);
        store(average + j, load(average + j) + value);
        for (long axis = 0; axis < m.rank; axis++) {
          float* p = own + place[axis] * c + j;
          store(p, load(p) + value);
        }
      }
    }
    for (long j = 0; j < c; j += LANES) store(average + j, load(average + j) / (float)m.rest);
  }
}

// du = outer + gradient of the norm for dnormal + dmean (b, x, c) + dmeans (b, others, c), the last
// two already divided by their counts; outer: the gradient of moved (null: none).
// sums per thread: scale (c), shift (c) and, with features, their map (c, k) and bias (c).
static void norm_and_pool_backward(const Pooling& m, const float* moved, const float* dnormal,
                                   const float* dmean, const float* dmeans, const float* outer,
                                   float* du, float* sums) {
  const long c = m.channels, many = m.lengths();
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.batch * m.first; item++) {
    const long b = item / m.first;
    const long x = item % m.first, size = 2 * c + (m.features ? (m.inner + 1) * c : 0);
    float* own = sums + omp_get_thread_num() * size;
    Pieces pieces(Pieces::padded(c));
    float* d = pieces.next(c);
    for (long r = 0; r < m.rest; r++) {
      const long at = (item * m.rest + r) * c;
      long place[8];
      places(m, r, place);
      for (long j = 0; j < c; j += LANES) {
        vec g = load(dnormal + at + j) + load(dmean + item * c + j);
        for (long axis = 0; axis < m.rank; axis++)
          g += load(dmeans + (b * many + place[axis]) * c + j);
        store(d + j, g);
        store(du + at + j, outer ? load(outer + at + j) : vec{});
      }
      norm_backward_row(moved + at, row_moments(moved + at, c, NORM_EPS), m.scale, d, own, own + c,
                        du + at, c);
    }
    for (long r = 0; m.features && r < m.rest; r += TILE) {
      const long rows = r + TILE < m.rest ? TILE : m.rest - r, k = m.inner;
      const float* d = du + (item * m.rest + r) * c;
      add_outer(rows, d, c, c, m.features + (x * m.rest + r) * k, k, k, own + 2 * c);
      add_rows(d, rows, c, own + (2 + k) * c);
    }
  }
}
