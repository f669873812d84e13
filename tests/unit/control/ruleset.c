/* SPDX-License-Identifier: MIT */
/* What a firewall's rules mean for an interface, as nft prints them. */
#include "control/ruleset.h"

#include <stdio.h>
#include <string.h>

#include "base/bytes.h"
#include "tests/unit/test.h"

static char mend[320];

/* Of a chain of these rules on the way through, for what comes from tap0. */
static enum ruleset_says chain(const char *policy, const char *rules, bool out)
{
    char text[1024];
    snprintf(text, sizeof(text),
             "table ip nat {\n\tchain post {\n\t\ttype nat hook postrouting "
             "priority srcnat; policy drop;\n\t\tdrop\n\t}\n}\n"
             "table inet f {\n\tset s {\n\t\ttype ipv4_addr\n\t}\n\n"
             "\tchain jumped {\n\t\tdrop\n\t}\n\n\tchain way {\n"
             "\t\ttype filter hook forward priority filter; policy %s;\n"
             "%s\t}\n}\n",
             policy, rules);
    strcpy(mend, "none");
    return ruleset_for(text, "forward", "tap0", out, mend, sizeof(mend));
}

TEST(ruleset_a_policy_drops_what_no_rule_accepts)
{
    CHECK_EQ(chain("accept", "", false), RULES_PASS);
    CHECK_STR(mend, "none");
    CHECK_EQ(chain("drop", "", false), RULES_DROP);
    CHECK_STR(mend, "nft 'insert rule inet f way iifname \"tap0\" accept'");
    CHECK_EQ(chain("drop", "", true), RULES_DROP);
    CHECK_STR(mend, "nft 'insert rule inet f way oifname \"tap0\" accept'");
    CHECK_EQ(ruleset_for("", "forward", "tap0", false, mend, sizeof(mend)),
             RULES_PASS);
}

TEST(ruleset_rules_that_let_it_pass)
{
    static const char *const rules[] = {
        "accept",
        "counter packets 7 bytes 588 accept",
        "log prefix \"drop \" level info accept",
        "iifname \"tap0\" accept",
        "iif \"tap0\" counter packets 0 bytes 0 accept",
        "iifname \"tap*\" accept",
        "iifname { \"eth0\", \"tap0\" } accept",
        "iifname != \"eth0\" accept",
        "iifname != { \"eth0\", \"eth1\" } accept",
        "iifname \"tap0\" oifname \"eth0\" accept",
        "ct state established,related accept",
        "ct state { established, related } counter packets 0 bytes 0 accept",
    };
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        char text[256];
        snprintf(text, sizeof(text), "\t\t%s\n\t\tdrop\n", rules[i]);
        CHECK_EQ(chain("drop", text, false), RULES_PASS);
    }
}

TEST(ruleset_rules_that_do_not)
{
    static const struct {
        const char *rule;
        enum ruleset_says says;
    } rows[] = {
        {"drop", RULES_DROP},
        {"reject with icmp port-unreachable", RULES_DROP},
        {"counter packets 1 bytes 84 drop comment \"accept\"", RULES_DROP},
        {"log prefix \"x y \" group 1 drop", RULES_DROP},
        {"iifname \"tap0\" drop", RULES_DROP},
        {"iifname != \"eth0\" drop", RULES_DROP},
        {"iifname { \"tap0\", \"eth0\" } reject", RULES_DROP},
        {"ct state invalid drop", RULES_MAY_DROP},
        {"ip saddr 192.0.2.7 drop", RULES_MAY_DROP},
        {"iifname \"tap0\" ip daddr 169.254.0.0/16 drop", RULES_MAY_DROP},
        {"oifname \"eth0\" drop", RULES_MAY_DROP},
        {"iifname \"eth0\" drop", RULES_PASS},
        {"iifname \"tap\" drop", RULES_PASS},
        {"iifname \"tap01\" drop", RULES_PASS},
        {"iifname \"eth*\" drop", RULES_PASS},
        {"iifname != \"tap0\" drop", RULES_PASS},
        {"ip saddr 192.0.2.7 accept comment \"and do not drop it\"",
         RULES_PASS},
        {"log prefix \"nft drop: \"", RULES_PASS},
        {"jump jumped", RULES_PASS},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char text[256];
        snprintf(text, sizeof(text), "\t\t%s\n", rows[i].rule);
        if (chain("accept", text, false) != rows[i].says)
            FAIL("%s: %d", rows[i].rule, chain("accept", text, false));
    }
    /* The way back is another's. */
    CHECK_EQ(chain("accept", "\t\tiifname \"tap0\" drop\n", true),
             RULES_MAY_DROP);
    CHECK_EQ(chain("accept", "\t\toifname \"tap0\" drop\n", true), RULES_DROP);
    CHECK_EQ(chain("accept", "\t\tct state invalid drop\n\t\taccept\n", false),
             RULES_MAY_DROP);
}

/* Cut anywhere, and with any byte another: it ends, and gives something. */
TEST(ruleset_text_that_is_none)
{
    static const char text[] =
        "table inet f {\n\tchain way {\n\t\ttype filter hook forward priority "
        "0; policy drop;\n\t\tiifname != { \"a\", \"tap*\" } counter packets 1 "
        "bytes 2 log prefix \"x\" drop\n\t}\n}\n";
    static const char bytes[] = {'"', '{', '}', ' ', '\n', '*', '!', '\xff'};
    char cut[sizeof(text)], long_line[4096];
    for (size_t n = 0; n < sizeof(text); n++) {
        snprintf(cut, n + 1, "%s", text);
        ruleset_for(cut, "forward", "tap0", false, mend, sizeof(mend));
        for (size_t i = 0; i < sizeof(bytes) && text[n]; i++) {
            strcpy(cut, text);
            cut[n] = bytes[i];
            enum ruleset_says says =
                ruleset_for(cut, "forward", "tap0", true, mend, sizeof(mend));
            CHECK(says <= RULES_DROP);
        }
    }
    memset(long_line, '"', sizeof(long_line) - 1);
    long_line[sizeof(long_line) - 1] = '\0';
    for (size_t i = 0; i + 600 < sizeof(long_line); i += 600)
        memcpy(long_line + i, "\ntable x\nchain y", 16);
    CHECK_EQ(
        ruleset_for(long_line, "forward", "tap0", false, mend, sizeof(mend)),
        RULES_PASS);
}

/* What mends it is pasted into a shell. */
TEST(ruleset_names_that_a_shell_would_run_end_before_that)
{
    static const char rules[] =
        "table inet f'; reboot; ' {\n\tchain way$(reboot) {\n\t\ttype filter "
        "hook forward priority 0; policy drop;\n\t}\n}\n";
    CHECK_EQ(ruleset_for(rules, "forward", "tap0", false, mend, sizeof(mend)),
             RULES_DROP);
    CHECK_STR(mend, "nft 'insert rule inet f way iifname \"tap0\" accept'");
}
