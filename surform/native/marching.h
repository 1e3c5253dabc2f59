// Latent time steps of points and the head that reads a field off each state.
//
// states (steps, n, c) of one sample; the head's norm is folded into its first map by the caller.
#pragma once

#include "mixing_backward.h"

static const float NORM_EPS = 1e-5f;

struct March {
  long points, channels, hidden, steps;
  const float *embeddings, *scale, *shift;        // (steps, c), (c), (c)
  const float *up, *up_turned, *up_bias;          // (h, c), (c, h), (h)
  const float *down, *down_turned, *down_bias;    // (c, h), (h, c), (c)
  int threads;
};

// moved = x + embedding, normal = its layer norm
INLINE void move_and_norm(const March& m, long step, const float* x, long rows, float* moved,
                          float* normal, Moments* moments) {
  const long c = m.channels;
  for (long i = 0; i < rows; i++) {
    for (long j = 0; j < c; j += LANES)
      store(moved + i * c + j, load(x + i * c + j) + load(m.embeddings + step * c + j));
    const Moments found = row_moments(moved + i * c, c, NORM_EPS);
    if (moments) moments[i] = found;
    norm_row(moved + i * c, found, m.scale, m.shift, normal + i * c, c);
  }
}

// Of each column of x: mean and sum of squares about it.
INLINE void column_moments(const float* x, long rows, long n, float* mean, float* square) {
  for (long j = 0; j < n; j += LANES) {
    const vec first = load(x + j);
    vec s = {}, t = {};
    for (long i = 1; i < rows; i++) {
      const vec d = load(x + i * n + j) - first;
      s += d;
      t += d * d;
    }
    const vec shift = s / (float)rows;
    store(mean + j, first + shift);
    store(square + j, t - s * shift);
  }
}

// states (steps, n, c) from start (n, c); raw (steps, n, h), before the GELU, kept if not null;
// means, squares (steps, blocks of TILE points, c)
static void march(const March& m, const float* start, float* states, float* raw, float* means,
                  float* squares) {
  const long c = m.channels, h = m.hidden, blocks = (m.points + TILE - 1) / TILE;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long block = 0; block < blocks; block++) {
    const long i = block * TILE, rows = i + TILE < m.points ? TILE : m.points - i;
    Pieces pieces(3 * Pieces::padded(TILE * c) + Pieces::padded(TILE * h));
    float *moved = pieces.next(TILE * c), *normal = pieces.next(TILE * c);
    float *after = pieces.next(TILE * c), *active = pieces.next(TILE * h);
    const float* x = start + i * c;
    for (long step = 0; step < m.steps; step++) {
      const long first = step * m.points + i;
      Finish keep_raw{}, keep_state{};
      if (raw) keep_raw.copy = rows_of(raw + first * h, h);
      keep_state.copy = rows_of(states + first * c, c);
      move_and_norm(m, step, x, rows, moved, normal, nullptr);
      product(Size{rows, h, c, 1}, Left{normal, c, 1, 0}, rows_of(m.up_turned, h),
              rows_of(active, h), Start{Panels{}, nullptr, m.up_bias}, keep_raw);
      gelu_row(active, active, rows * h);
      product(Size{rows, c, h, 1}, Left{active, h, 1, 0}, rows_of(m.down_turned, c),
              rows_of(after, c), Start{rows_of(moved, c), nullptr, m.down_bias}, keep_state);
      const long at = (step * blocks + block) * c;
      column_moments(after, rows, c, means + at, squares + at);
      x = after;
    }
    finish_stores();
  }
}

struct Head {
  long points, channels, groups, dim, hidden, out, steps;
  const float *weight, *weight_turned, *bias;  // (steps, g, i, o), (steps, g, o, i), (steps, dim)
  const float *second, *second_turned;         // (hidden, dim), (dim, hidden)
  const float *last, *last_bias;               // (out, hidden), (out)
  int threads;
};

// mixed (rows, dim) <- grouped map of x (rows, channels)
INLINE void grouped_map(const Head& m, long step, const float* x, long rows, float* mixed) {
  const long in = m.channels / m.groups, out = m.dim / m.groups;
  for (long g = 0; g < m.groups; g++)
    product(Size{rows, out, in, 1}, Left{x + g * in, m.channels, 1, 0},
            rows_of(m.weight + (step * m.groups + g) * in * out, out),
            rows_of(mixed + g * out, m.dim),
            Start{Panels{}, nullptr, m.bias + step * m.dim + g * out});
}

// frames (steps, n, out)
static void read_head(const Head& m, const float* states, float* frames) {
  const long blocks = (m.points + TILE - 1) / TILE;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long item = 0; item < m.steps * blocks; item++) {
    const long step = item / blocks, i = item % blocks * TILE;
    const long rows = i + TILE < m.points ? TILE : m.points - i, at = step * m.points + i;
    Pieces pieces(Pieces::padded(TILE * m.dim) + Pieces::padded(TILE * m.hidden));
    float *mixed = pieces.next(TILE * m.dim), *active = pieces.next(TILE * m.hidden);
    if (item + 1 < m.steps * blocks) soon.add(states + (at + rows) * m.channels, TILE * m.channels);
    grouped_map(m, step, states + at * m.channels, rows, mixed);
    gelu_row(mixed, mixed, rows * m.dim);
    product(Size{rows, m.hidden, m.dim, 1}, Left{mixed, m.dim, 1, 0},
            rows_of(m.second_turned, m.hidden), rows_of(active, m.hidden));
    gelu_row(active, active, rows * m.hidden);
    for (long r = 0; r < rows; r++)
      for (long o = 0; o < m.out; o++) {
        vec sum = {};
        for (long j = 0; j < m.hidden; j += LANES)
          sum += load(active + r * m.hidden + j) * load(m.last + o * m.hidden + j);
        frames[(at + r) * m.out + o] = total(sum) + m.last_bias[o];
      }
  }
}
