// Plays programs and inputs into an engine, and writes down what comes out and when: the other
// half of fast_bursts.py, which writes the job and reads the result.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

// Cycles between two lines that say how far it is.
constexpr uint64_t TELL = 1 << 16;
// Cycles in which nothing more may come after the last word.
constexpr uint64_t QUIET = 100;

// The beginning of a job: int64 each, in this order. Then its bursts; then the bytes of all images;
// then those of the words of all x, `x_bytes` each, a bit of which is at 1 << bit, little-endian.
struct Job {
    int64_t bursts, x_bytes, y_bytes, patience, counters_bytes;
    int64_t loaded, loading, committing, busy, error;
};

// Inputs that follow each other, words of each and of its output, and the bytes of the image that
// is sent meanwhile.
struct Burst {
    int64_t inputs, x_words, y_words, image;
};

// Of a burst: cycles in which a byte of the image was offered, those of them in which nothing else
// was left to do, and the cycle after its last one.
struct Times {
    int64_t sending, waiting, end;
};

[[noreturn]] void fail(const char* what) {
    std::fprintf(stderr, "%s\n", what);
    std::exit(1);
}

template <typename Port> void put(Port& port, const uint8_t* from, size_t size) {
    if (size > sizeof port) fail("a word is wider than its port");
    std::memset(static_cast<void*>(&port), 0, sizeof port);
    std::memcpy(static_cast<void*>(&port), from, size);
}

template <typename Port> void get(const Port& port, std::vector<uint8_t>& to, size_t size) {
    if (size > sizeof port) fail("a word is wider than its port");
    const auto* from = reinterpret_cast<const uint8_t*>(&port);
    to.insert(to.end(), from, from + size);
}

// What is offered to a stream: words from `next` on, up to `end`.
struct Source {
    std::vector<uint8_t> bytes;
    size_t size = 0, next = 0, end = 0;
    const uint8_t* word() const { return bytes.data() + next * size; }
    bool valid() const { return next < end; }
};

class Bench {
public:
    Bench(const Job& given, FILE* file) : job(given), bursts(job.bursts) {
        read(file, bursts.data(), bursts.size() * sizeof bursts[0]);
        size_t images = 0, words = 0;
        for (const Burst& burst : bursts) {
            images += burst.image;
            words += burst.inputs * burst.x_words;
        }
        load = {read(file, images), 1};
        x = {read(file, words * job.x_bytes), size_t(job.x_bytes)};
        top.rst = 1;
        for (int i = 0; i < 4; i++) cycle();
        top.rst = 0;
    }

    void run() {
        for (const Burst& burst : bursts) {
            play(burst);
            get(top.counters, counters, job.counters_bytes);
        }
        const size_t came = ends.size();
        for (uint64_t i = 0; i < QUIET; i++) cycle();
        if (ends.size() != came) fail("words of y came that belong to no x");
    }

    void save(FILE* file) {
        write(file, starts.data(), starts.size() * sizeof starts[0]);
        write(file, ends.data(), ends.size() * sizeof ends[0]);
        write(file, y.data(), y.size());
        write(file, counters.data(), counters.size());
        write(file, times.data(), times.size() * sizeof times[0]);
    }

private:
    Job job;
    std::vector<Burst> bursts;
    Vtop top;
    Source load, x;
    size_t image = 0, due = 0;  // byte 0 of the image, words of y when the burst is done
    uint64_t now = 0, moved = 0;
    std::vector<Times> times;
    std::vector<int64_t> starts, ends;  // cycles of the words of x and of y
    std::vector<uint8_t> y, counters;

    static void read(FILE* file, void* to, size_t size) {
        if (std::fread(to, 1, size, file) != size) fail("the job is cut short");
    }

    static std::vector<uint8_t> read(FILE* file, size_t size) {
        std::vector<uint8_t> bytes(size);
        read(file, bytes.data(), size);
        return bytes;
    }

    static void write(FILE* file, const void* from, size_t size) {
        if (std::fwrite(from, 1, size, file) != size) fail("the result cannot be written");
    }

    bool status(int64_t at, int width = 1) const {
        const auto* bytes = reinterpret_cast<const uint8_t*>(&top.status);
        for (int64_t bit = at; bit < at + width; bit++)
            if (bytes[bit / 8] >> bit % 8 & 1) return true;
        return false;
    }

    // Let inputs follow each other while an image is sent, and wait until all is done.
    void play(const Burst& burst) {
        x.end += burst.inputs * burst.x_words;
        image = load.end;
        load.end += burst.image;
        due += burst.inputs * burst.y_words;
        times.push_back({});
        until("no y comes", [&] { return ends.size() >= due && !status(job.busy); });
        if (ends.size() != due || x.valid()) fail("y has more words than it should");
        until("the engine takes no program", [&] { return !load.valid(); });
        until("the engine does not use the program", [&] {
            if (status(job.error, 3)) fail("the engine refused the program");
            return status(job.loaded) && !status(job.loading) && !status(job.committing);
        });
        times.back().end = now;
    }

    template <typename Done> void until(const char* else_what, Done done) {
        for (moved = now; !done(); cycle())
            if (now - moved > uint64_t(job.patience)) fail(else_what);
    }

    // What is offered is taken in the cycles in which the engine is ready; y always is.
    void cycle() {
        const bool running = !top.rst;
        // An engine with a complete image takes no x of the program in use any more.
        const bool early = load.next + 1 == load.end && x.valid();
        top.i_load___05Fvalid = running && load.valid() && !early;
        if (load.valid()) {
            const uint16_t byte = load.word()[0] | (load.next == image) << 8;  // `first`
            put(top.i_load___05Fpayload, reinterpret_cast<const uint8_t*>(&byte), sizeof byte);
        }
        top.i_x___05Fvalid = running && x.valid();
        if (x.valid()) put(top.i_x___05Fpayload, x.word(), x.size);
        top.o_y___05Fready = running;
        top.clk = 0;
        top.eval();
        if (top.i_load___05Fvalid) {
            times.back().sending++;
            times.back().waiting += ends.size() == due && !status(job.busy);
            if (top.i_load___05Fready) load.next++, moved = now;
        }
        if (top.i_x___05Fvalid && top.i_x___05Fready) {
            starts.push_back(now);
            x.next++, moved = now;
        }
        if (top.o_y___05Fvalid && top.o_y___05Fready) {
            ends.push_back(now);
            get(top.o_y___05Fpayload, y, job.y_bytes);
            moved = now;
        }
        top.clk = 1;
        top.eval();
        if (++now % TELL == 0) {
            std::printf("%zu %zu\n", load.next + x.next, size_t(now));
            std::fflush(stdout);
        }
    }
};

}  // namespace

int main(int argc, char** argv) {
    FILE* in = argc == 3 ? std::fopen(argv[1], "rb") : nullptr;
    Job job;
    if (!in || std::fread(&job, sizeof job, 1, in) != 1) fail("there is no job");
    Bench bench(job, in);
    std::fclose(in);
    bench.run();
    FILE* out = std::fopen(argv[2], "wb");
    if (!out) fail("the result cannot be written");
    bench.save(out);
    if (std::fclose(out)) fail("the result cannot be written");
    return 0;
}
