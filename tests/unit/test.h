/* SPDX-License-Identifier: MIT */
/* The unit-test framework: TEST(name) { CHECK(...); }, nothing to register. */
#ifndef TEST_H
#define TEST_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

/* A test's name states section and behaviour, after the file's prefix:
 *
 *     TEST(virtqueue_2_7_7_2_used_event_holds_irq)
 *     {
 *         struct machine *m = fake_new(1 << 20);
 *         CHECK_EQ(vq_enable(...), 0);
 *         fake_free(m);
 *     }
 *
 * Tests run in one process, in the order of the source, each with a minute
 * (test_timeout() gives more). What goes to stderr meanwhile (log_line) is kept
 * from the screen, shown when the test fails, and read by test_log(). */
struct test {
    const char *name, *file;
    int line;
    void (*run)(void);
    struct test *next;
};

/* Test files, and only they, register themselves before main(). */
#define TEST(id)                                                               \
    static void id(void);                                                      \
    static struct test test_##id = {#id, __FILE__, __LINE__, id, NULL};        \
    __attribute__((constructor)) static void test_reg_##id(void)               \
    {                                                                          \
        test_register(&test_##id);                                             \
    }                                                                          \
    static void id(void)

/* CHECK…: on failure says so and goes on; gives back whether it held.
 * REQUIRE…: on failure ends the test. Each argument is evaluated once. */
#define CHECK(cond) test_check(!!(cond), __FILE__, __LINE__, #cond)
/* Integers of any type, at most 64 bits, compared as numbers (shown in hex and
 * decimal): CHECK_EQ(got, wanted). */
#define CHECK_EQ(a, b)                                                         \
    test_eq((uint64_t)(a), (uint64_t)(b), __FILE__, __LINE__, #a, #b)
#define CHECK_NE(a, b)                                                         \
    test_ne((uint64_t)(a), (uint64_t)(b), __FILE__, __LINE__, #a, #b)
#define CHECK_STR(a, b) test_str(a, b, __FILE__, __LINE__, #a)
/* `part` occurs in `text` */
#define CHECK_HAS(text, part) test_has(text, part, __FILE__, __LINE__)
#define CHECK_MEM(a, b, len) test_mem(a, b, len, __FILE__, __LINE__, #a)
#define REQUIRE(cond)                                                          \
    do {                                                                       \
        if (!(cond)) { /* seen by static analysis */                           \
            test_check(false, __FILE__, __LINE__, #cond);                      \
            test_end();                                                        \
        }                                                                      \
    } while (0)
#define REQUIRE_EQ(a, b)                                                       \
    do {                                                                       \
        if (!CHECK_EQ(a, b))                                                   \
            test_end();                                                        \
    } while (0)
/* Fails, with a text of its own. */
#define FAIL(...) test_fail(__FILE__, __LINE__, __VA_ARGS__)
/* Ends the test as skipped. */
#define SKIP(why) test_skip(why)

/* What was written to stderr since the test began or since the last call,
 * NUL-terminated, valid until the next call. */
const char *test_log(void);
/* What `say` writes to stdout, up to 64 KiB; valid until the next call. */
const char *test_stdout(void (*say)(void));
/* Seconds from now before the test counts as hung. */
void test_timeout(unsigned seconds);
/* A small deterministic generator; the seed is the same in every run. */
uint32_t test_random(void);

void test_register(struct test *t);
bool test_check(bool ok, const char *file, int line, const char *what);
bool test_eq(uint64_t a, uint64_t b, const char *file, int line, const char *sa,
             const char *sb);
bool test_ne(uint64_t a, uint64_t b, const char *file, int line, const char *sa,
             const char *sb);
bool test_str(const char *a, const char *b, const char *file, int line,
              const char *sa);
bool test_has(const char *text, const char *part, const char *file, int line);
bool test_mem(const void *a, const void *b, size_t len, const char *file,
              int line, const char *sa);
void test_fail(const char *file, int line, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void test_end(void) __attribute__((noreturn));
void test_skip(const char *why) __attribute__((noreturn));

#endif
