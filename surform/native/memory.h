// Work memory of each thread, kept from call to call: fresh pages are dear.
#pragma once

#include <stdlib.h>
#include <sys/mman.h>

static const size_t PAGE = 2 << 20;

struct Scratch {
  float* p = nullptr;
  size_t size = 0;
  ~Scratch() { free(p); }
  float* take(size_t count) {
    if (count > size) {
      free(p);
      size = 0;
      const size_t bytes = (count * sizeof(float) + PAGE - 1) / PAGE * PAGE;
      if (posix_memalign((void**)&p, PAGE, bytes)) abort();
      madvise(p, bytes, MADV_HUGEPAGE);  // rows lie far apart: small pages would be many
      size = count;
    }
    return p;
  }
};

static thread_local Scratch scratch;

// Consecutive pieces of one piece of scratch memory, each at a cache line of its own.
struct Pieces {
  float* p;
  explicit Pieces(size_t count) : p(scratch.take(count)) {}
  float* next(size_t count) {
    float* found = p;
    p += padded(count);
    return found;
  }
  static size_t padded(size_t count) { return (count + 47) / 16 * 16; }  // one line apart
};
