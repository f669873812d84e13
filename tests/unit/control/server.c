/* SPDX-License-Identifier: MIT */
/* Clients on sockets: those who behave, and those who do not. */
#include "control/server.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/handed.h"
#include "base/parts.h"
#include "tests/unit/fake.h"

static struct served {
    struct server s;
    struct machine *m;
    struct sockaddr_un at;
    struct client *later; /* is answered by the test */
    int requests;
    bool deny;
} srv;

static void on_request(struct client *c)
{
    struct text body = {0};
    srv.requests++;
    if (!strcmp(c->in.path, "/later")) {
        srv.later = c;
        return;
    }
    if (!strcmp(c->in.path, "/large"))
        for (int i = 0; i < 16384; i++)
            text_put(&body, "0123456789abcdef0123456789abcdef");
    else if (!strcmp(c->in.path, "/long"))
        body.cut = true;
    else
        text_put(&body, "%s:%.*s", c->in.path, (int)c->in.body,
                 http_body(&c->in));
    server_answer(c, 200, "text/plain", &body);
}

static bool on_admit(struct server *s, int fd)
{
    CHECK(s == &srv.s && fd >= 0);
    return !srv.deny;
}

static void begin(void)
{
    socklen_t len = sizeof(srv.at);
    memset(&srv, 0, sizeof(srv));
    srv.m = fake_new(1 << 20);
    srv.s.request = on_request;
    srv.s.admit = on_admit;
    srv.s.name = "vmm";
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    srv.at.sun_family = AF_UNIX; /* a name of the kernel's choice */
    REQUIRE_EQ(bind(fd, (void *)&srv.at, sizeof(sa_family_t)), 0);
    REQUIRE_EQ(getsockname(fd, (void *)&srv.at, &len), 0);
    REQUIRE_EQ(listen(fd, 64), 0);
    REQUIRE_EQ(server_begin(&srv.s, srv.m->loop, fd), 0);
}

static void end(void)
{
    server_end(&srv.s);
    fake_free(srv.m);
}

static int dial(void)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    socklen_t len = sizeof(sa_family_t) + 6; /* what bind() makes */
    REQUIRE_EQ(connect(fd, (void *)&srv.at, len), 0);
    return fd;
}

static void says(int fd, const char *text)
{
    CHECK_EQ(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
    fake_run_loop(srv.m);
}

static void asks(int fd, const char *path)
{
    char text[128];
    snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\n\r\n", path);
    says(fd, text);
}

/* What came back so far; "closed": the end of it. */
static const char *hears(int fd)
{
    static char text[4096];
    ssize_t n = recv(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    if (n == 0 || (n < 0 && errno == ECONNRESET))
        strcpy(text, "closed");
    return text;
}

TEST(server_answers_on_one_connection_again_and_again)
{
    begin();
    int fd = dial();
    for (int i = 0; i < 3; i++) {
        asks(fd, "/x");
        CHECK_HAS(hears(fd), "\r\n\r\n/x:");
    }
    says(fd, "PUT /y HTTP/1.1\r\nContent-Length: 2\r\n\r\n{");
    CHECK_STR(hears(fd), "");
    says(fd, "}");
    CHECK_HAS(hears(fd), "/y:{}");
    close(fd);
    fake_run_loop(srv.m);
    CHECK_EQ(srv.s.client[0].ev.fd, -1);
    end();
}

TEST(server_answers_each_of_several_that_come_at_once)
{
    begin();
    int fd = dial();
    says(fd, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n"
             "GET /c HTTP/1.1\r\n\r\n");
    const char *text = hears(fd);
    CHECK_HAS(text, "/a:HTTP/1.1 200");
    CHECK_HAS(text, "/b:HTTP/1.1 200");
    CHECK_HAS(text, "/c:");
    CHECK_EQ(srv.requests, 3);
    close(fd);
    end();
}

TEST(server_hears_out_who_only_ended_its_own_side)
{
    begin();
    int fd = dial();
    CHECK_EQ(
        send(fd, "GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\nGE", 40, 0),
        40);
    shutdown(fd, SHUT_WR);
    fake_run_loop(srv.m);
    const char *text = hears(fd);
    CHECK_HAS(text, "/a:");
    CHECK_HAS(text, "/b:");
    CHECK_STR(hears(fd), "closed");
    CHECK_EQ(srv.s.client[0].ev.fd, -1);
    close(fd);
    end();
}

TEST(server_does_what_who_hung_up_had_asked_for)
{
    begin();
    int fd = dial();
    CHECK_EQ(send(fd, "GET /a HTTP/1.1\r\n\r\n", 19, 0), 19);
    close(fd);
    fake_run_loop(srv.m);
    CHECK_EQ(srv.requests, 1);
    CHECK_EQ(srv.s.client[0].ev.fd, -1);
    end();
}

TEST(server_closes_after_the_last_answer)
{
    begin();
    int fd = dial();
    says(fd, "GET /a HTTP/1.0\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    CHECK_HAS(hears(fd), "Connection: close");
    CHECK_STR(hears(fd), "closed");
    CHECK_EQ(srv.requests, 1);
    close(fd);
    fd = dial();
    says(fd, "rubbish\r\n\r\nGET /b HTTP/1.1\r\n\r\n");
    const char *text = hears(fd);
    CHECK_HAS(text, "400 Bad Request");
    CHECK_HAS(text, "{\"fault_message\":\"The request line");
    CHECK_STR(hears(fd), "closed");
    CHECK_EQ(srv.requests, 1);
    close(fd);
    end();
}

TEST(server_does_not_read_from_who_does_not_read)
{
    static char many[8192];
    begin();
    int fd = dial(), other = dial();
    size_t all = 0;
    asks(fd, "/large"); /* more than a socket takes */
    for (size_t n = 0; n + 19 < sizeof(many); n += 19)
        memcpy(many + n, "GET /x HTTP/1.1\r\n\r\n", 19);
    for (ssize_t n = 1; n > 0 && all<4 << 20; all += n> 0 ? (size_t)n : 0) {
        n = send(fd, many, 8189 / 19 * 19, MSG_NOSIGNAL);
        fake_run_loop(srv.m);
    }
    CHECK(all < 4 << 20);
    CHECK_EQ(srv.requests, 1);
    asks(other, "/x");
    CHECK_HAS(hears(other), "/x:");
    /* it reads after all */
    for (int i = 0; i < 4000 && srv.requests < 20; i++) {
        hears(fd);
        fake_run_loop(srv.m);
    }
    CHECK(srv.requests >= 20);
    close(fd);
    close(other);
    end();
}

TEST(server_answers_later_and_asks_nothing_of_that_client_meanwhile)
{
    struct text body = {0};
    begin();
    int fd = dial();
    says(fd, "GET /later HTTP/1.1\r\n\r\nGET /x HTTP/1.1\r\n\r\n");
    CHECK_EQ(srv.requests, 1);
    REQUIRE(srv.later);
    text_put(&body, "now");
    server_answer(srv.later, 200, "text/plain", &body);
    fake_run_loop(srv.m);
    const char *text = hears(fd);
    CHECK_HAS(text, "nowHTTP");
    CHECK_HAS(text, "/x:");
    /* who is gone when the answer comes */
    asks(fd, "/later");
    close(fd);
    CHECK(fake_run_loop(srv.m) < 10); /* and does not spin */
    CHECK(srv.s.client[0].ev.fd >= 0);
    text_put(&body, "now");
    server_answer(srv.later, 200, "text/plain", &body);
    CHECK_EQ(srv.s.client[0].ev.fd, -1);
    end();
}

TEST(server_an_answer_that_is_too_long_says_so)
{
    begin();
    int fd = dial();
    asks(fd, "/long");
    CHECK_HAS(hears(fd), "400 Bad Request");
    close(fd);
    end();
}

TEST(server_has_ten_clients_and_the_silent_make_room)
{
    int fd[SERVER_CLIENTS];
    begin();
    for (int i = 0; i < SERVER_CLIENTS; i++) {
        fd[i] = dial();
        fake_advance_ns(1000);
        fake_run_loop(srv.m);
    }
    int more = dial();
    fake_run_loop(srv.m);
    CHECK_HAS(hears(more), "503 Service Unavailable");
    CHECK_STR(hears(more), "closed");
    CHECK_EQ(srv.s.turned_away, 1);
    close(more);
    fake_sleep_ns(srv.m, 990000000);
    asks(fd[0], "/x"); /* so the second is the one */
    CHECK_HAS(hears(fd[0]), "/x:");
    fake_sleep_ns(srv.m, 20000000);
    more = dial();
    fake_run_loop(srv.m);
    asks(more, "/y");
    CHECK_HAS(hears(more), "/y:");
    CHECK_STR(hears(fd[1]), "closed");
    for (int i = 0; i < SERVER_CLIENTS; i++)
        close(fd[i]);
    close(more);
    end();
}

TEST(server_who_connects_in_a_loop_is_accepted_at_a_pace)
{
    int fd[SERVER_CLIENTS + 8];
    begin();
    for (int i = 0; i < SERVER_CLIENTS + 8; i++)
        fd[i] = dial();
    fake_run_loop(srv.m);
    CHECK_EQ(srv.s.turned_away, 1);
    fake_sleep_ns(srv.m, 10000000);
    CHECK_EQ(srv.s.turned_away, 2);
    for (int i = 0; i < SERVER_CLIENTS + 8; i++)
        close(fd[i]);
    end();
}

TEST(server_who_may_not_come_in_is_hung_up_on)
{
    begin();
    srv.deny = true;
    int fd = dial();
    fake_run_loop(srv.m);
    CHECK_STR(hears(fd), "closed");
    CHECK_EQ(srv.requests, 0);
    close(fd);
    end();
}

/* Another process: the same server, made anew at the listening socket. */
static void take_over(struct parts *out)
{
    struct part part;
    const int *fd;
    int own[HANDED_MAX], listens = dup(srv.s.listen.fd);
    int n = handed_late_list(0, &fd);
    size_t at = 0;
    for (int i = 0; i < n; i++)
        own[i] = dup(fd[i]);
    server_end(&srv.s);
    handed_late_begin();
    for (int i = 0; i < n; i++)
        handed_late(own[i]);
    REQUIRE_EQ(server_begin(&srv.s, srv.m->loop, listens), 0);
    REQUIRE_EQ(parts_end(out), 0);
    while (parts_next(out->p, out->n, &at, &part)) {
        servers_arrive(&part);
        servers_arrive(&part); /* said twice: there is one socket */
        part.len--;
        servers_arrive(&part);
        part.name[0]++;
        servers_arrive(&part);
    }
    handed_mine();
    parts_free(out);
}

/* Who has nothing begun, and who waits for just that, goes on, with what has
 * come of a request; who comes meanwhile is answered; who waits for something
 * else is hung up on. */
TEST(server_clients_go_on_in_another_process)
{
    begin();
    struct parts out = {0};
    int idle = dial(), asker = dial(), other = dial(), late;
    int half = dial(), body = dial();
    asks(idle, "/x");
    CHECK_HAS(hears(idle), "/x:");
    asks(other, "/later");
    says(asker, "GET /later HTTP/1.1\r\n\r\nGET /be");
    says(half, "\r\nGET /ha");
    says(body, "PUT /b?c HTTP/1.1\r\nX: y\r\nContent-Length: 3\r\n"
               "Connection: close\r\n\r\n{");
    handed_late_begin();
    servers_leave(srv.later, &out);
    says(idle, "GET /mean"); /* what is sent from here on waits */
    late = dial();
    asks(late, "/late");
    CHECK_STR(hears(late), "");
    struct text done = {0};
    server_answer(srv.later, 200, "text/plain", &done);
    take_over(&out);
    CHECK_HAS(hears(asker), "HTTP/1.1 200");
    fake_run_loop(srv.m);
    says(idle, "while HTTP/1.1\r\n\r\n");
    CHECK_HAS(hears(idle), "/meanwhile:");
    says(asker, "hind HTTP/1.1\r\n\r\n");
    CHECK_HAS(hears(asker), "/behind:");
    CHECK_HAS(hears(late), "/late:");
    says(half, "lf HTTP/1.1\r\n\r\n");
    CHECK_HAS(hears(half), "/half:");
    says(body, "}\n");
    CHECK_HAS(hears(body), "/b:{}");
    CHECK_STR(hears(body), "closed");
    CHECK_STR(hears(other), "closed");
    close(idle), close(asker), close(other), close(late);
    close(half), close(body);
    end();
}

/* It stays after all: nothing was lost meanwhile. */
TEST(server_clients_stay_if_nobody_takes_over)
{
    begin();
    struct parts out = {0};
    int idle = dial(), half = dial();
    says(half, "GET /h");
    asks(idle, "/x");
    CHECK_HAS(hears(idle), "/x:");
    servers_leave(NULL, &out);
    asks(idle, "/y");
    int late = dial();
    asks(late, "/z");
    CHECK_STR(hears(idle), "");
    servers_stay();
    fake_run_loop(srv.m);
    CHECK_HAS(hears(idle), "/y:");
    CHECK_HAS(hears(late), "/z:");
    says(half, " HTTP/1.1\r\n\r\n");
    CHECK_HAS(hears(half), "/h:");
    handed_late_begin();
    parts_free(&out);
    close(idle), close(half), close(late);
    end();
}
