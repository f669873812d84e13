/* SPDX-License-Identifier: MIT */
/* The command line: what each option does, and what it says when it cannot. */
#include "control/cmdline.h"

#include <errno.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>

#include "block/list.h"
#include "control/models.h"
#include "control/pc.h"
#include "control/plan.h"
#include "devices/list.h"
#include "net/list.h"
#include "tests/unit/test.h"

static const struct device_class *const models[] = {DEVICE_ROWS NULL};
static const struct netdev_class *const nets[] = {NETDEV_ROWS NULL};
static const struct blockdev_class *const disks[] = {BLOCKDEV_ROWS NULL};
static const struct plan_classes classes = {
    .devices = models, .netdevs = nets, .blockdevs = disks};
static struct config cfg;

/* The words after "vmm", parted by blanks ("~" is one). */
static int parse(const char *line)
{
    static char text[1024];
    char name[] = "vmm", *argv[64] = {name}, *save = NULL;
    int argc = 1;
    strcpy(text, line);
    for (char *w = strtok_r(text, " ", &save); w;
         w = strtok_r(NULL, " ", &save)) {
        for (char *p = w; *p; p++)
            if (*p == '~')
                *p = ' ';
        argv[argc++] = w;
    }
    int err = cmdline_parse(&cfg, &classes, argc, argv);
    plan_free();
    return err;
}

static void takes(const char *line)
{
    if (parse(line))
        FAIL("%s: refused: %s", line, test_log());
    models_free();
}

/* Refused in one line, which has the option and the reason. */
static void refuses(const char *line, const char *reason)
{
    char option[64];
    test_log();
    if (!CHECK_EQ(parse(line), -EINVAL))
        FAIL("%s: taken", line);
    const char *log = test_log();
    CHECK_HAS(log, reason);
    snprintf(option, sizeof(option), "%.*s", (int)strcspn(line, " "), line);
    CHECK_HAS(log, option);
    const char *end = strchr(log, '\n');
    if (!end || end[1])
        FAIL("%s: not one line: %s", line, log);
    models_free();
}

TEST(cmdline_defaults)
{
    takes("");
    CHECK_EQ(cfg.vm.ram, 256 << 20);
    CHECK_EQ(cfg.vm.cpus, 1);
    CHECK_STR(cfg.boot.cmdline, NULL);
    CHECK_EQ(cfg.nserial, 1);
    CHECK_STR(cfg.serial[0], "stdio");
    CHECK(cfg.vm.boot == &cfg.boot);
}

TEST(cmdline_qemu_options_with_nothing_to_do_are_taken)
{
    static const char *const lines[] = {
        "-nographic -display none -vga none -vnc none -nodefaults "
        "-no-user-config -enable-kvm -no-hpet -no-fd-bootchk -usb -L /usr/x "
        "-k en-us -id 100 -monitor none -qmp none -parallel none "
        "-audio none -audiodev none,id=audio1 -watchdog-action reset",
        "-sandbox off",
        "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny",
        "-sandbox on,resourcecontrol=deny",
        "-sandbox on,obsolete=allow,elevateprivileges=children,spawn=allow",
        "-runas 65534:65534",
        "-runas root",
        "-machine pc",
        "-M q35",
        "--machine type=pc-i440fx-7.2",
        "-machine pc-q35-8.1,accel=kvm:tcg,usb=off,dump-guest-core=off",
        "-machine type=pc+pve0,kernel-irqchip=on,vmport=off,hpet=off,smm=auto",
        "-accel kvm -accel tcg",
        "-accel kvm,kernel-irqchip=on",
        "-cpu host",
        "-cpu max,migratable=off",
        "-cpu host,+kvm_pv_eoi,check",
        "-cpu host,hv_relaxed=off",
        "-rtc base=utc,clock=host,driftfix=none",
        "-rtc base=utc,driftfix=slew",
        "-device pvpanic",
        "-device pvpanic,ioport=1285",
        "-overcommit mem-lock=off,cpu-pm=off",
        "-msg guest-name=off",
        "-boot strict=on",
        "-boot menu=on,splash=x.jpg,reboot-timeout=1000",
        "-action panic=exit-failure,shutdown=poweroff,watchdog=none",
        "-name a,debug-threads=on",
        "-global PIIX4_PM.disable_s3=1",
        "-global kvm-pit.lost_tick_policy=delay",
        "-global virtio-net-pci.packed=on"};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        takes(lines[i]);
}

TEST(cmdline_what_cannot_be_meant_is_refused_with_the_reason)
{
    static const char *const rows[][2] = {
        {"-daemonize -serial stdio", "no terminal"},
        {"-daemonize -chardev stdio,id=c -serial chardev:c", "no terminal"},
        {"-ready soon", "run or guest"},
        {"-shutdown-timeout 86401", "0 to 86400"},
        {"-shutdown-timeout 1s", "-shutdown-timeout 1s"},
        {"-mon mode=control", "chardev= is missing"},
        {"-mon c,mode=loud", "must be one of readline, control"},
        {"-cdrom x", "no CD-ROM"},
        {"-pflash x", "no such drive"},
        {"-snapshot", "is kept"},
        {"-sandbox maybe", "must be on or off"},
        {"-sandbox on,spawn=children", "must be one of deny, allow"},
        {"-sandbox on,colour=red", "no key \"colour\""},
        {"-vnc :1", "no graphics"},
        {"-display gtk", "no graphics"},
        {"-vga std", "no graphics"},
        {"-runas nobody-of-that-name", "no such user"},
        {"-runas 12", "UID:GID"},
        {"-runas 12:13:14", "UID:GID"},
        {"-runas 4294967295:1", "UID:GID"},
        {"-chroot /x", "empty root"},
        {"-gdb tcp::1", "debugger"},
        {"-incoming tcp:x", "-restore goes on"},
        {"-machine microvm", "pc and q35"},
        {"-machine pc,accel=tcg", "KVM alone"},
        {"-machine pc,usb=on", "usb=on: there is no USB"},
        {"-machine pc,hpet=on", "no HPET"},
        {"-machine pc,colour=red", "no key \"colour\""},
        {"-machine pc,memory-backend=m", "memory-backend"},
        {"-accel tcg", "KVM alone"},
        {"-accel kvm,kernel-irqchip=split", "kernel-irqchip=split"},
        {"-cpu qemu64", "host and max"},
        {"-cpu host,-avx", "-avx"},
        {"-cpu host,pmu=off", "pmu=off"},
        {"-cpu host,hv_relaxed", "Hyper-V"},
        {"-rtc base=localtime", "UTC"},
        {"-rtc driftfix=quick", "lost"},
        {"-device pvpanic,ioport=1286", "port 0x505"},
        {"-device pvpanic,colour=red", "no key \"colour\""},
        {"-overcommit mem-lock=on", "mem-lock=on"},
        {"-action panic=pause", "exit code 5"},
        {"-boot order=x", "must be of c (disk) and n (network)"},
        {"-boot n,reboot-timeout=65536", "reboot-timeout"},
        {"-initrd x", "needs -kernel"},
        {"-smbios type=2", "type=1"},
        {"-uuid 1234", "not a UUID"},
        {"-numa cpu", "one NUMA node"},
        {"-global usb-tablet.x=1", "there is no usb-tablet"},
        {"-global PIIX4_PM.disable_s3=0", "cannot sleep"},
        {"-global x", "write MODEL.KEY=VALUE"},
        {"-entry 8", "16, 32 or 64"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        refuses(rows[i][0], rows[i][1]);
}

/* What Ganeti 3.0's KVM hypervisor writes, by its parameters. */
TEST(cmdline_what_ganeti_writes_is_taken)
{
    static const char *const lines[] = {
        "-name i1.fleet.test -m 128 -smp 1 -pidfile /p -device virtio-balloon "
        "-daemonize -D /l -machine pc,accel=kvm -kernel /k "
        "-append root=/dev/vda1~ro~console=ttyS0,38400 "
        "-monitor unix:/m,server,nowait -serial unix:/s,server,nowait -usb "
        "-nographic -uuid 8d0b8e3c-52a1-4d5e-8f0e-bc2dd9c7a4f1 -netdev "
        "type=tap,id=nic-1,fd=8 -device virtio-net-pci,id=nic-1,bus=pci.0,"
        "addr=0xd,netdev=nic-1,mac=aa:00:00:11:22:33 "
        "-qmp unix:/q,server,nowait -qmp unix:/k,server,nowait "
        "-device virtio-blk-pci,id=disk-1,bus=pci.0,addr=0xc,drive=disk-1 "
        "-drive file=/d,format=raw,if=none,aio=threads,cache=none,"
        "discard=unmap,id=disk-1 -S",
        "-smp 4,cores=2,threads=1,sockets=2 -no-acpi -no-reboot -serial none "
        "-mem-path /h -mem-prealloc -display none -cpu host -vga none "
        "-runas root -k en-us -net none -boot c",
        "-netdev type=tap,id=n,fds=8:9,vhostfds=10:11,vhost=on "
        "-device virtio-net-pci,netdev=n,mac=aa:00:00:11:22:33,mq=on,vectors=6",
        "-netdev type=tap,id=netdev0,fd=8 "
        "-device e1000,netdev=netdev0,mac=aa:00:00:11:22:33",
        "-drive file=/d,format=raw,if=virtio,aio=native,cache=none",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        takes(lines[i]);
}

/* What an instance cannot have here: its parameters, as they come. */
TEST(cmdline_what_ganeti_writes_is_refused_with_the_reason)
{
    static const char *const rows[][2] = {
        {"-soundhw ac97", "no sound"},
        {"-usbdevice tablet", "no USB"},
        {"-vnc 127.0.0.1:5100", "no graphics"},
        {"-spice addr=127.0.0.1,port=1,disable-ticketing", "no graphics"},
        {"-vga qxl", "no graphics"},
        {"-chroot /var/run/ganeti/c", "empty root"},
        {"-incoming tcp:10.0.0.1:8102", "-restore goes on"},
        {"-rtc base=localtime", "UTC"},
        {"-cpu qemu64", "host and max"},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        refuses(rows[i][0], rows[i][1]);
}

TEST(cmdline_devices_without_names_are_as_many_as_asked_for)
{
    char *argv[] = {"vmm", "-device", "virtio-rng-pci", "-device",
                    "virtio-rng-pci"};
    struct needs needs = {0};
    CHECK_EQ(cmdline_parse(&cfg, &classes, ARRAY_LEN(argv), argv), 0);
    CHECK_EQ(plan_check(&classes, &needs), 0);
    plan_free();
    models_free();
}

TEST(cmdline_words_that_are_no_option)
{
    refuses("-kernl x", "did you mean -kernel?");
    refuses("--seriall x", "did you mean -serial?");
    refuses("stray", "a kernel is given with -kernel");
    refuses("-kernel", "needs an argument: -kernel FILE");
    /* Too short for a guess: -V is nothing like -m. */
    refuses("-V", "-help lists them");
    refuses("--", "-help lists them");
    refuses("-", "-help lists them");
}

static void say_help(void)
{
    CHECK_EQ(parse("-help"), 1);
}

/* By the lists they are rows of. */
TEST(cmdline_help_names_each_device_and_backend)
{
    const char *help = test_stdout(say_help), *at;
    CHECK((at = strstr(help, "\n-netdev ")) != NULL);
    for (int i = 0; nets[i]; i++)
        CHECK_HAS(at, nets[i]->name);
    CHECK((at = strstr(help, "\n-device ")) != NULL);
    for (int i = 0; models[i]; i++)
        CHECK_HAS(at, models[i]->name);
}

static void say_machines(void)
{
    CHECK_EQ(parse("-machine ?"), 1);
}

static void say_models(void)
{
    CHECK_EQ(parse("-device ?"), 1);
}

/* In lines that are each a text of its own, as Ganeti 3.0 looks. */
static bool finds(const char *text, const char *pattern)
{
    regex_t re;
    CHECK_EQ(regcomp(&re, pattern, REG_EXTENDED | REG_NEWLINE), 0);
    bool found = !regexec(&re, text, 0, NULL, 0);
    regfree(&re);
    return found;
}

TEST(cmdline_help_is_what_ganeti_looks_for)
{
    static const char *const said[] = {
        "^-qmp[[:space:]]",
        "^-netdev[[:space:]]",
        "^-netdev tap.*,vhost=on\\|off",
        "^-machine[[:space:]]",
        "^-uuid[[:space:]]",
        "^-netdev tap.*,fds=x:y:[.]{3}:z",
    };
    char help[16384], first[128];
    snprintf(help, sizeof(help), "%s", test_stdout(say_help));
    for (size_t i = 0; i < ARRAY_LEN(said); i++)
        if (!finds(help, said[i]))
            FAIL("-help lacks %s", said[i]);
    snprintf(first, sizeof(first), "%.*s", (int)strcspn(help, "\n"), help);
    CHECK(finds(first, "^[^0-9]* 7\\.2\\.0")); /* its first number */
    CHECK(!finds(help, ",boot=on"));
    CHECK(finds(test_stdout(say_machines), "^pc .*\\(default\\)"));
    CHECK(finds(test_stdout(say_models), "^name \"virtio-net-pci\""));
    CHECK(finds(test_stdout(say_models), "^name \"virtio-blk-pci\""));
}

TEST(cmdline_memory_sizes)
{
    takes("-m 64");
    CHECK_EQ(cfg.vm.ram, 64 << 20);
    takes("-m 1.5G");
    CHECK_EQ(cfg.vm.ram, 1536ull << 20);
    takes("-m size=512M,slots=2,maxmem=4G");
    CHECK_EQ(cfg.vm.ram, 512 << 20);
    takes("-m 1G,maxmem=4096"); /* of megabytes, too */
    refuses("-m 1G,maxmem=1023", "maxmem=");
    takes("-m 10000.1M"); /* to whole pages, upwards */
    CHECK_EQ(cfg.vm.ram, 10485866496ull);
    refuses("-m 4K", "from 8M to 1T");
    refuses("-m 2T", "from 8M to 1T");
    refuses("-m 1G,maxmem=512M", "maxmem=");
    refuses("-m x", "such as");
    refuses("-m 1G,colour=red", "no key");
}

TEST(cmdline_smp_layout)
{
    static const struct {
        const char *arg;
        unsigned cpus, threads, package;
    } rows[] = {
        {"3", 3, 1, 3},
        {"cpus=4", 4, 1, 4},
        {"2,sockets=2,cores=1,threads=1", 2, 1, 1},
        {"2,sockets=1,cores=2,maxcpus=2", 2, 1, 2},
        {"4,sockets=2", 4, 1, 2},
        {"8,sockets=2,threads=2", 8, 2, 4},
        {"cores=3,threads=2", 6, 2, 6},
        {"2,maxcpus=4", 2, 1, 2},
        {"2,sockets=2,cores=2,maxcpus=4", 2, 1, 2},
        {"sockets=2,dies=1,clusters=1,cores=4", 8, 1, 4},
        {"32,cores=8,threads=1", 32, 1, 8},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        char line[128];
        snprintf(line, sizeof(line), "-smp %s", rows[i].arg);
        takes(line);
        CHECK_EQ(cfg.vm.cpus, rows[i].cpus);
        CHECK_EQ(cfg.vm.threads, rows[i].threads);
        CHECK_EQ(cfg.vm.package, rows[i].package);
    }
    refuses("-smp 33", "1 to 32");
    refuses("-smp 2,sockets=0", "sockets");
    refuses("-smp 3,sockets=2", "must be the number of CPUs");
    refuses("-smp 4,maxcpus=2", "maxcpus");
    refuses("-smp 6,sockets=2", "power of two");
    refuses("-smp 6,threads=3", "power of two");
    refuses("-smp cores=64", "1 to 32");
    refuses("-smp 2,books=1", "no key");
}

TEST(cmdline_name_and_identity)
{
    static const uint8_t uuid[16] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc,
                                     0xde, 0xf0, 0xAB, 0xcd, 0xef, 0x01,
                                     0x23, 0x45, 0x67, 0x89};
    takes("-name web,debug-threads=on");
    CHECK_STR(cfg.name, "web");
    takes("-name guest=a,,b");
    CHECK_STR(cfg.name, "a,b");
    takes("-uuid 12345678-9abc-def0-ABcd-ef0123456789");
    CHECK_MEM(cfg.boot.who.uuid, uuid, 16);
    takes("-smbios type=1,serial=ds=nocloud;s=http://10.0.2.2/,product=p,"
          "uuid=12345678-9abc-def0-abcd-ef0123456789");
    CHECK_MEM(cfg.boot.who.uuid, uuid, 16);
    CHECK_STR(cfg.boot.who.text[1], "p");
    CHECK_STR(cfg.boot.who.text[3], "ds=nocloud;s=http://10.0.2.2/");
    refuses("-name a,process=sixteen-letters-", "at most 15");
    refuses("-uuid 12345678-9abc-def0-abcd-ef012345678", "not a UUID");
    refuses("-uuid 12345678-9abc-def0-abcd-ef01234567890", "not a UUID");
    refuses("-uuid 1234567:-9abc-def0-abcd-ef0123456789", "not a UUID");
    refuses("-uuid 12345678x9abc-def0-abcd-ef0123456789", "not a UUID");
}

TEST(cmdline_boot_and_ends)
{
    takes("-boot order=n");
    CHECK_EQ(cfg.boot.order, 'n');
    takes("-boot cdn,menu=on,strict=on");
    CHECK_EQ(cfg.boot.order, 'c');
    CHECK(cfg.boot.strict);
    takes("-boot once=nc");
    CHECK(!cfg.boot.order && cfg.boot.once == 'n');
    takes("-kernel k -boot order=c,reboot-timeout=1 -initrd i");
    CHECK_EQ(cfg.boot.reboot, 2);
    takes("-boot reboot-timeout=-1");
    CHECK_EQ(cfg.boot.reboot, 0);
    takes("-boot reboot-timeout=65535");
    CHECK_EQ(cfg.boot.reboot, 65535);
    takes("-no-acpi");
    CHECK(cfg.boot.no_acpi);
    takes("-machine pc,acpi=off");
    CHECK(cfg.boot.no_acpi);
    takes("-action reboot=shutdown");
    CHECK(cfg.vm.no_reboot);
    takes("-no-reboot -action reboot=reset");
    CHECK(!cfg.vm.no_reboot);
    takes("-msg timestamp=on -D log -pidfile pid");
    CHECK(cfg.timestamps);
    CHECK_STR(cfg.log, "log");
    CHECK_STR(cfg.pidfile, "pid");
}

/* What boots where no kernel is named: the bundled guest, if it was told
 * something, or if there is nothing else. */
TEST(cmdline_boot_of_a_disk)
{
    static const struct {
        const char *line;
        unsigned disks;
        bool rom;
    } rows[] = {
        {"-m 1G", 0, false},
        {"-m 1G", 1, true},
        {"-append x", 1, false},
        {"-entry 16", 1, false},
        {"-kernel k", 1, false},
        {"-boot strict=on", 0, false},
        {"-boot c", 2, true},
        {"-boot n", 0, true},
        {"-boot n -kernel k", 1, false},
        {"-boot cn", 0, true},
    };
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        takes(rows[i].line);
        CHECK_EQ(pc_check_boot(&cfg, rows[i].disks), 0);
        CHECK_EQ(cfg.boot.rom, rows[i].rom);
    }
    takes("-boot c");
    CHECK_EQ(pc_check_boot(&cfg, 0), -EINVAL);
    CHECK_HAS(test_log(), "-boot: there is no disk; n boots from the network");
    takes("-boot c -append x");
    CHECK_EQ(pc_check_boot(&cfg, 1), -EINVAL);
    CHECK_HAS(test_log(), "-append: needs -kernel");
}

TEST(cmdline_memory_backend_must_be_guest_memory)
{
    takes("-m 128 -object memory-backend-ram,id=pc.ram,size=134217728 "
          "-machine pc,memory-backend=pc.ram");
    CHECK(!cfg.vm.memory.shared);
    takes("-m 1G -object memory-backend-memfd,id=m,size=1G,share=on "
          "-numa node,memdev=m");
    CHECK(cfg.vm.memory.shared);
    takes("-m 1G -object qom-type=memory-backend-memfd,id=m,size=1G,share=off "
          "-numa node,memdev=m");
    CHECK(!cfg.vm.memory.shared);
    takes("-mem-path /dev/hugepages -mem-prealloc");
    CHECK_STR(cfg.vm.memory.path, "/dev/hugepages");
    CHECK(cfg.vm.memory.prealloc && !cfg.vm.memory.shared);
    takes("-object memory-backend-file,id=m,size=256M,mem-path=/m,share=on,"
          "prealloc=on -machine memory-backend=m");
    CHECK_STR(cfg.vm.memory.path, "/m");
    CHECK(cfg.vm.memory.prealloc && cfg.vm.memory.shared);
    takes(
        "-object {\"qom-type\":\"memory-backend-memfd\",\"id\":\"m\",\"size\":"
        "268435456,\"hugetlb\":true,\"hugetlbsize\":2097152} "
        "-machine memory-backend=m");
    CHECK_EQ(cfg.vm.memory.page, 2 << 20);
    static const char *const bad[][2] = {
        {"-mem-path /x -object memory-backend-ram,id=m,size=256M",
         "one of them"},
        {"-object memory-backend-ram,id=m,size=256M", "nothing names it"},
        {"-object memory-backend-ram,size=256M", "id= is missing"},
        {"-object memory-backend-file,id=m,size=256M", "mem-path= is missing"},
        {"-object memory-backend-ram,id=m,mem-path=/x", "memory-backend-file"},
        {"-object memory-backend-epc,id=m", "-memfd or -file"},
        {"-object memory-backend-ram,id=m,hugetlb=on",
         "for memory-backend-memfd"},
        {"-object memory-backend-memfd,id=m,hugetlbsize=2M", "with hugetlb=on"},
        {"-object memory-backend-memfd,id=m,hugetlb=on,hugetlbsize=3M",
         "2M or 1G"},
        {"-mem-path /x -object memory-backend-file,id=m,size=256M,mem-path=/y "
         "-machine pc,memory-backend=m",
         "one of them"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        refuses(bad[i][0], bad[i][1]);
}

TEST(cmdline_memory_backend_has_the_size_of_the_machine_saved_or_not)
{
    struct saved saved = {0};
    takes("-object memory-backend-ram,id=m,size=64M "
          "-machine pc,memory-backend=m");
    CHECK_EQ(pc_check_memory(&cfg), -EINVAL);
    CHECK_HAS(test_log(), "size= must be -m's");
    CHECK(!cfg.ram_said);
    cfg.vm.ram = 64 << 20; /* as a state file says */
    cfg.vm.saved = &saved;
    CHECK_EQ(pc_check_memory(&cfg), 0);
    cfg.vm.ram = 32 << 20;
    CHECK_EQ(pc_check_memory(&cfg), -EINVAL);
    CHECK_HAS(test_log(), "must be the saved machine's, 32M");
    takes("-m 64M -smp 2");
    CHECK(cfg.ram_said && cfg.cpus_said);
}

/* --------------------------------------------------------------- -device */

static struct opts device(const char *text)
{
    struct opts o;
    REQUIRE_EQ(opts_parse(&o, "-device", text, "driver"), 0);
    return o;
}

/* The keys that are left, as text. */
static const char *left(struct opts *o)
{
    static char text[512];
    *text = '\0';
    for (int i = 0; i < o->n; i++)
        sprintf(text + strlen(text), "%s%s=%s", i ? " " : "", o->kv[i].key,
                o->kv[i].val);
    return text;
}

static void becomes(const char *text, const char *keys)
{
    struct opts o = device(text);
    CHECK_EQ(models_adjust(models, &o), 0);
    CHECK_STR(left(&o), keys);
    opts_free(&o);
}

/* What its class says of the keys. */
static int reads(const char *text)
{
    struct opts o = device(text);
    const struct device_class *const *cls = models;
    CHECK_EQ(models_adjust(models, &o), 0);
    while (strcmp((*cls)->name, opts_str(&o, "driver", "")))
        cls++;
    opts_move(NULL, &o, "driver", NULL);
    void *obj = calloc(1, (*cls)->size);
    int err = fields_read((*cls)->fields, obj, &o);
    free(obj);
    opts_free(&o);
    return err;
}

static void device_refused(const char *text, const char *reason)
{
    test_log();
    CHECK_EQ(reads(text), -EINVAL);
    CHECK_HAS(test_log(), reason);
}

TEST(models_aliases_stand_for_models_and_keys)
{
    becomes("virtio-net,netdev=n", "driver=virtio-net-pci netdev=n");
    becomes("virtio-net-pci-transitional,mac=m",
            "disable-modern=off disable-legacy=off driver=virtio-net-pci "
            "mac=m");
    becomes("virtio-net-pci-non-transitional,disable-modern=on",
            "disable-modern=off disable-legacy=on driver=virtio-net-pci "
            "disable-modern=on");
    becomes("e1000-82540em", "driver=e1000");
    becomes("VGA,gso=on", "driver=VGA gso=on");
}

TEST(models_keys_of_qemu_that_need_nothing_go)
{
    CHECK_EQ(reads("virtio-net-pci,tx=bh,gso=on,any_layout=on,acpi-index=0,"
                   "failover=off,netdev=n,romsize=4294967295,aer=off,"
                   "x-txtimer=1"),
             0);
    CHECK_EQ(reads("e1000,autonegotiation=on,extra_mac_registers=on,"
                   "init-vet=yes"),
             0);
    CHECK_EQ(reads("vfio-pci,host=01:00.0,display=off,x-no-mmap=off"), 0);
    device_refused("e1000,autonegotiation=off", "autonegotiation=off: the PHY");
    device_refused("virtio-net,tx=timer", "tx=timer");
    device_refused("virtio-net-pci,failover=on", "failover=on");
    device_refused("virtio-net-pci,acpi-index=3", "acpi-index=3");
}

TEST(models_globals_are_defaults_of_their_model)
{
    CHECK_EQ(models_global(models, "virtio-net-pci.packed=on"), 0);
    CHECK_EQ(models_global(models, "virtio-pci.disable-legacy=off"), 0);
    CHECK_EQ(models_global(models, "e1000.fcs=off"), 0);
    becomes("virtio-net,packed=off",
            "packed=on disable-legacy=off driver=virtio-net-pci packed=off");
    becomes("e1000", "fcs=off driver=e1000");
    models_free();
    becomes("e1000", "driver=e1000");
}
