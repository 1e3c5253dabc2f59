// Add an encoding to a field, normalise its channels, and average the result over axes.
#pragma once

#include "marching_backward.h"

struct Pooling {
  long batch, first, rest, channels, rank;  // rank: axes but the first
  long axes[8];
  const float *scale, *shift;
  int threads;
  long lengths() const {
    long sum = 0;
    for (long axis = 0; axis < rank; axis++) sum += axes[axis];
    return sum;
  }
};

// Position along each axis but the first of point r of the rest, counted through all axes.
INLINE void places(const Pooling& m, long r, long* place) {
  long before = m.lengths();
  for (long axis = m.rank - 1; axis >= 0; axis--) {
    before -= m.axes[axis];
    place[axis] = before + r % m.axes[axis];
    r /= m.axes[axis];
  }
}

// moved = u + added (x, rest, c; null: nothing), normal = its norm, both (b, x, rest, c);
// mean (b, x, c) over rest; sums per thread (b, all other axes' points, c) over what is not theirs.
static void norm_and_pool(const Pooling& m, const float* u, const float* added, float* moved,
                          float* normal, float* mean, float* sums) {
  const long c = m.channels, many = m.lengths();
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.batch * m.first; item++) {
    const long b = item / m.first, x = item % m.first;
    float* own = sums + (omp_get_thread_num() * m.batch + b) * many * c;
    float* average = mean + item * c;
    for (long j = 0; j < c; j += LANES) store(average + j, vec{});
    for (long r = 0; r < m.rest; r++) {
      const long at = (item * m.rest + r) * c;
      const float* row = u + at;
      if (added) {
        const float* more = added + (x * m.rest + r) * c;
        for (long j = 0; j < c; j += LANES)
          store(moved + at + j, load(row + j) + load(more + j));
        row = moved + at;
      }
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
// sums per thread: scale (c), shift (c).
static void norm_and_pool_backward(const Pooling& m, const float* moved, const float* dnormal,
                                   const float* dmean, const float* dmeans, const float* outer,
                                   float* du, float* sums) {
  const long c = m.channels, many = m.lengths();
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.batch * m.first; item++) {
    const long b = item / m.first;
    float* own = sums + omp_get_thread_num() * 2 * c;
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
  }
}
