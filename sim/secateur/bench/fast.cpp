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
// Cycles behind `committing` in which an x may begin that is still for the old program, and more.
constexpr int LATE = 4;
// What chances are counted in.
constexpr int64_t STEPS = 256;

// The beginning of a job: int64 each, in this order. Then its bursts; then the bytes of all images;
// then those of the words of all x, `x_bytes` each, a bit of which is at 1 << bit, little-endian.
struct Job {
    int64_t bursts, x_bytes, y_bytes, patience, counters_bytes, seed;
    int64_t loaded, loading, committing, busy, error, program;
};

// Inputs that follow each other, words of each and of its output, and the bytes of the image that
// is sent meanwhile: while a program is in use those from `behind` on after the last word of x, and
// none then if it is `spare`. With `rush` they come when the last x has begun, and the next burst
// begins as soon as the image is complete.
// The chance in STEPS of a pause at each stream in each cycle. The cycle from which the engine is
// reset, or -1; what came in the burst is forgotten then.
struct Burst {
    int64_t inputs, x_words, y_words, image, behind, spare, rush;
    int64_t load_pause, x_pause, y_pause, reset;
};

// Of a burst: cycles in which a byte of the image was offered, those of them in which nothing else
// was left to do, and the cycle after its last one; then the program in use.
struct Times {
    int64_t sending, waiting, end, program;
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
    bool offered = false;  // and not taken: it stays
    const uint8_t* word() const { return bytes.data() + next * size; }
    bool valid() const { return next < end; }
    void take() { next++, offered = false; }
    void forget() { next = end, offered = false; }
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
        random ^= job.seed;
        reset(4);
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
    Burst burst = {};
    size_t image = 0, due = 0;  // byte 0 of the image, words of y when the burst is done
    uint64_t random = 0x9e3779b97f4a7c15;
    bool held = false;  // the word of y in `offer` was not taken yet
    std::vector<uint8_t> offer;
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

    uint64_t status(int64_t at, int width = 1) const {
        const auto* bytes = reinterpret_cast<const uint8_t*>(&top.status);
        uint64_t value = 0;
        for (int bit = 0; bit < width; bit++)
            value |= uint64_t(bytes[(at + bit) / 8] >> (at + bit) % 8 & 1) << bit;
        return value;
    }

    // Decide whether to pause in a cycle. Without pauses nothing is drawn: xorshift64, G. Marsaglia,
    // Journal of Statistical Software 8, 2003.
    bool pause(int64_t chance) {
        if (!chance) return false;
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        return int64_t(random >> 32) % STEPS < chance;
    }

    void reset(int cycles) {
        top.rst = 1;
        x.forget();
        load.forget();
        held = false;
        for (int i = 0; i < cycles; i++) cycle();
        top.rst = 0;
    }

    // Let inputs follow each other while an image is sent, and wait until all is done, or reset.
    void play(const Burst& given) {
        burst = given;
        x.end += burst.inputs * burst.x_words;
        image = load.end;
        load.end += burst.image;
        if (!status(job.loaded) && !status(job.committing)) burst.behind = burst.image;
        else if (burst.spare) load.forget();
        times.push_back({});
        if (burst.reset >= 0) {
            interrupt();
        } else {
            due += burst.inputs * burst.y_words;
            if (burst.rush) hurry();
            else finish();
        }
        times.back().end = now;
        times.back().program = status(job.program, 32);
    }

    void interrupt() {
        const size_t sent = starts.size(), came = ends.size();
        for (int64_t i = 0; i < burst.reset; i++) cycle();
        reset(1);
        due = came;
        starts.resize(sent), ends.resize(came), y.resize(came * job.y_bytes);
        top.eval();
        if (status(job.busy) || status(job.loading)) fail("reset leaves something behind");
        until("the engine does not prepare its program", [&] { return !status(job.committing); });
    }

    void hurry() {
        until("the engine takes no program", [&] { return !load.valid() && !x.valid(); });
        until("the engine checks no program", [&] { return status(job.committing); });
        for (int i = 0; i < LATE; i++) cycle();
    }

    void finish() {
        until("no y comes", [&] { return ends.size() >= due && !status(job.busy); });
        if (ends.size() != due || x.valid()) fail("y has more words than it should");
        until("the engine takes no program", [&] { return !load.valid(); });
        until("the engine does not use the program", [&] {
            if (status(job.error, 3)) fail("the engine refused the program");
            return status(job.loaded) && !status(job.loading) && !status(job.committing);
        });
    }

    template <typename Done> void until(const char* else_what, Done done) {
        for (moved = now; !done(); cycle())
            if (now - moved > uint64_t(job.patience)) fail(else_what);
    }

    // What is offered is taken in the cycles in which the engine is ready.
    void cycle() {
        const bool running = !top.rst;
        // An engine that is about to change its program begins no x for the one in use any more.
        const size_t begun = burst.rush && burst.x_words > 0 ? burst.x_words - 1 : 0;
        const bool early = x.end > x.next + begun && load.next >= image + burst.behind;
        if (load.valid() && !early && !load.offered) load.offered = !pause(burst.load_pause);
        if (x.valid() && !x.offered) x.offered = !pause(burst.x_pause);
        top.i_load___05Fvalid = running && load.offered;
        if (load.valid()) {
            const uint16_t byte = load.word()[0] | (load.next == image) << 8;  // `first`
            put(top.i_load___05Fpayload, reinterpret_cast<const uint8_t*>(&byte), sizeof byte);
        }
        top.i_x___05Fvalid = running && x.offered;
        if (x.valid()) put(top.i_x___05Fpayload, x.word(), x.size);
        top.o_y___05Fready = running && !pause(burst.y_pause);
        top.clk = 0;
        top.eval();
        if (running) look_at_y();
        if (top.i_load___05Fvalid) {
            times.back().sending++;
            times.back().waiting += ends.size() == due && !status(job.busy);
            if (top.i_load___05Fready) load.take(), moved = now;
        }
        if (top.i_x___05Fvalid && top.i_x___05Fready) {
            starts.push_back(now);
            x.take(), moved = now;
        }
        top.clk = 1;
        top.eval();
        if (++now % TELL == 0) {
            std::printf("%zu %zu\n", load.next + x.next, size_t(now));
            std::fflush(stdout);
        }
    }

    // A word that is offered stays until it is taken.
    void look_at_y() {
        std::vector<uint8_t> word;
        if (top.o_y___05Fvalid) get(top.o_y___05Fpayload, word, job.y_bytes);
        if (held && word != offer) fail("y was taken back before the transfer");
        held = top.o_y___05Fvalid && !top.o_y___05Fready;
        offer = word;
        if (!top.o_y___05Fvalid || held) return;
        ends.push_back(now);
        y.insert(y.end(), word.begin(), word.end());
        moved = now;
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
