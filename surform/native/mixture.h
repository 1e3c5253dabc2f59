// Perceptrons with one hidden layer, mixed by gates: y = sum_e g_e (down_e gelu(up_e x)).
//
// x (n, in), y (n, out), gates (n, experts) or null for a single expert; with `positions`, x is
// gelu(first p) of positions p (n, positions), made again wherever it is read; `raw`, what a GELU
// is taken of, (experts, n, hidden). Turned weights are for gradients only. Widths but the number
// of positions are multiples of LANES.
#pragma once

#include "marching_backward.h"

static const long POINTS = 128;  // in a block

struct Mixture {
  long points, in, hidden, out, experts;
  const float *up, *up_turned, *up_bias;        // (m, in, h), (m, h, in), (m, h)
  const float *down, *down_turned, *down_bias;  // (m, h, out), (m, out, h), (m, out)
  long positions;                               // 0: none
  const float *first, *first_bias;              // (positions, in), (in)
  int threads;
  long rows(long block) const {
    return block * POINTS + POINTS < points ? POINTS : points - block * POINTS;
  }
};

// y (rows, n) = sum_e g_e bias_e
INLINE void mixed_biases(const float* bias, const float* gates, long rows, long n, long experts,
                         float* y) {
  for (long i = 0; i < rows; i++)
    for (long j = 0; j < n; j += LANES) {
      vec sum = gates ? vec{} : load(bias + j);
      if (gates)
        for (long e = 0; e < experts; e++) sum += load(bias + e * n + j) * gates[i * experts + e];
      store(y + i * n + j, sum);
    }
}

// The hidden layer of expert e, before the GELU; copy: once more, or null
INLINE void lift(const Mixture& m, long e, const float* x, long rows, float* raw,
                 float* copy = nullptr) {
  Finish finish{};
  if (copy) finish.copy = rows_of(copy, m.hidden);
  product(Size{rows, m.hidden, m.in, 1}, Left{x, m.in, 1, 0},
          rows_of(m.up + e * m.in * m.hidden, m.hidden), rows_of(raw, m.hidden),
          Start{Panels{}, nullptr, m.up_bias + e * m.hidden}, finish);
}

// x (rows, n) <- its GELU, times each row's number (`apart` numbers from row to row) if given
INLINE void gelu_shares(float* x, long rows, long n, const float* share, long apart) {
  for (long i = 0; i < rows; i++) {
    const float factor = share ? share[i * apart] : 1.f;
    for (long j = i * n; j < (i + 1) * n; j += LANES) {
      const vec z = load(x + j);
      store(x + j, gelu_value(z, tail(z)) * factor);
    }
  }
}

// Rows of x from i on: read, or made in `active`, with the GELU's derivatives in `slope` if given.
INLINE const float* enter(const Mixture& m, const float* x, long i, long rows, float* active,
                          float* slope = nullptr) {
  if (!m.positions) return x + i * m.in;
  product(Size{rows, m.in, m.positions, 1}, Left{x + i * m.positions, m.positions, 1, 0},
          rows_of(m.first, m.in), rows_of(active, m.in), Start{Panels{}, nullptr, m.first_bias});
  slope ? gelu_rows(active, rows * m.in, active, slope) : gelu_row(active, active, rows * m.in);
  return active;
}

static void mix(const Mixture& m, const float* x, const float* gates, float* raw, float* y) {
  const long h = m.hidden, blocks = (m.points + POINTS - 1) / POINTS;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long block = 0; block < blocks; block++) {
    const long i = block * POINTS, rows = m.rows(block);
    Pieces pieces(Pieces::padded(POINTS * h) + Pieces::padded(POINTS * m.in));
    float *active = pieces.next(POINTS * h), *made = pieces.next(POINTS * m.in);
    const float* g = gates ? gates + i * m.experts : nullptr;
    const float* xi = enter(m, x, i, rows, made);
    const Panels target = rows_of(y + i * m.out, m.out);
    mixed_biases(m.down_bias, g, rows, m.out, m.experts, y + i * m.out);
    for (long e = 0; e < m.experts; e++) {
      lift(m, e, xi, rows, active, raw ? raw + (e * m.points + i) * h : nullptr);
      gelu_shares(active, rows, h, g ? g + e : nullptr, m.experts);
      product(Size{rows, m.out, h, 1}, Left{active, h, 1, 0},
              rows_of(m.down + e * h * m.out, m.out), target, Start{target});
    }
    finish_stores();
  }
}

struct MixtureSums {  // of the gradients of the parameters, one after the other
  float *first, *first_bias, *up, *up_bias, *down, *down_bias;
  MixtureSums(const Mixture& m, float* p) {
    first = p, first_bias = first + m.positions * m.in;
    up = first_bias + (m.positions ? m.in : 0), up_bias = up + m.experts * m.hidden * m.in;
    down = up_bias + m.experts * m.hidden, down_bias = down + m.experts * m.out * m.hidden;
  }
  static long size(const Mixture& m) {
    const long entry = m.positions ? (m.positions + 1) * m.in : 0;
    return entry + m.experts * (m.hidden * (m.in + m.out + 1) + m.out);
  }
};

// raw (rows, h) -> active = g gelu(raw), d <- d g gelu'(raw); dgates += d . gelu(raw)
INLINE void activation_backward(const Mixture& m, long e, const float* raw, const float* gates,
                                long rows, float* active, float* d, float* dgates) {
  for (long r = 0; r < rows; r++) {
    const float share = gates ? gates[r * m.experts + e] : 1.f;
    vec dot = {};
    for (long j = r * m.hidden; j < (r + 1) * m.hidden; j += LANES) {
      const Gelu found = gelu(load(raw + j));
      const vec outer = load(d + j);
      dot += outer * found.value;
      store(active + j, found.value * share);
      store(d + j, outer * found.slope * share);
    }
    if (gates) dgates[r * m.experts + e] += total(dot);
  }
}

// dbias += sum over rows of g outer; dgates += outer . bias
INLINE void bias_backward(const Mixture& m, long e, const float* outer, const float* gates,
                          long rows, float* dbias, float* dgates) {
  const float* bias = m.down_bias + e * m.out;
  for (long r = 0; r < rows; r++) {
    const float share = gates ? gates[r * m.experts + e] : 1.f;
    vec dot = {};
    for (long j = 0; j < m.out; j += LANES) {
      const vec g = load(outer + r * m.out + j);
      dot += g * load(bias + j);
      store(dbias + j, load(dbias + j) + g * share);
    }
    if (gates) dgates[r * m.experts + e] = total(dot);
  }
}

// d (rows, in), the gradient of x made of positions p -> dp (rows, positions), and the sums.
INLINE void enter_backward(const Mixture& m, const float* p, const float* slope, long rows,
                           float* d, float* dp, const MixtureSums& own) {
  multiply(d, slope, rows * m.in);
  add_outer(rows, p, m.positions, m.positions, d, m.in, m.in, own.first);
  add_rows(d, rows, m.in, own.first_bias);
  for (long r = 0; r < rows; r++)
    for (long k = 0; k < m.positions; k++) {
      vec dot = {};
      for (long j = 0; j < m.in; j += LANES)
        dot += load(d + r * m.in + j) * load(m.first + k * m.in + j);
      dp[r * m.positions + k] = total(dot);
    }
}

// outer (n, out) -> dx, of x or of the positions, dgates (n, experts); sums per thread: MixtureSums
static void mix_backward(const Mixture& m, const float* x, const float* gates, const float* raw,
                         const float* outer, float* dx, float* dgates, float* sums) {
  const long h = m.hidden, blocks = (m.points + POINTS - 1) / POINTS;
#pragma omp parallel for num_threads(m.threads) schedule(static) if (m.threads > 1)
  for (long block = 0; block < blocks; block++) {
    const long i = block * POINTS, rows = m.rows(block);
    const MixtureSums own(m, sums + omp_get_thread_num() * MixtureSums::size(m));
    Pieces pieces(3 * Pieces::padded(POINTS * h) + 3 * Pieces::padded(POINTS * m.in));
    float *active = pieces.next(POINTS * h), *d = pieces.next(POINTS * h);
    float *again = pieces.next(POINTS * h), *made = pieces.next(POINTS * m.in);
    float *slope = pieces.next(POINTS * m.in), *dmade = pieces.next(POINTS * m.in);
    const float *g = gates ? gates + i * m.experts : nullptr, *gi = outer + i * m.out;
    const float* xi = enter(m, x, i, rows, made, slope);
    float *dg = gates ? dgates + i * m.experts : nullptr, *dxi = m.positions ? dmade : dx + i * m.in;
    for (long e = 0; e < m.experts; e++) {
      const float* before = raw ? raw + (e * m.points + i) * h : again;
      if (!raw) lift(m, e, xi, rows, again);
      bias_backward(m, e, gi, g, rows, own.down_bias + e * m.out, dg);
      product(Size{rows, h, m.out, 1}, Left{gi, m.out, 1, 0},
              rows_of(m.down_turned + e * m.out * h, h), rows_of(d, h));
      activation_backward(m, e, before, g, rows, active, d, dg);
      add_outer(rows, active, h, h, gi, m.out, m.out, own.down + e * h * m.out);
      add_outer(rows, xi, m.in, m.in, d, h, h, own.up + e * m.in * h);
      add_rows(d, rows, h, own.up_bias + e * h);
      const Panels target = rows_of(dxi, m.in);
      product(Size{rows, m.in, h, 1}, Left{d, h, 1, 0}, rows_of(m.up_turned + e * h * m.in, m.in),
              target, e ? Start{target} : Start{});
    }
    if (m.positions)
      enter_backward(m, x + i * m.positions, slope, rows, dmade, dx + i * m.positions, own);
  }
}
